"""Which keys belong to which source, and what each needs: told all at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headstart._utils.errors import ParameterError
from headstart.pipeline import recipes
from headstart.pipeline.recipes import overlay
from headstart.sources.parameters import DownloadParams
from headstart.stage.parameters import read_params
from tests.conftest import ROOT

PLAIN: dict[str, Any] = {
    "source": "embedded", "location": "data/raw", "url": None, "sha256": None, "encoding": None,
    "endpoint_url": None, "anonymous": None, "profile": None,
    "name": None,
    "table": None, "path_column": None, "url_column": None, "label_column": None,
    "split_column": None, "group_column": None, "sha256_column": None, "root": None,
    "splits": None, "path_suffix": None, "follow_links": None,
    "group": None,
}  # fmt: skip
TABLE = {"source": "table", "table": "labels.csv", "path_column": "file", "label_column": "kind"}
TFDS = {"source": "tfds", "name": "cats_vs_dogs:4.0.1"}
S3 = {"source": "s3", "url": "s3://pets/some/where", "location": "data/objects.csv"}
KAGGLE = {"source": "kaggle", "name": "some-one/pets/versions/3"}


def read(folder: Path, values: dict[str, Any]) -> DownloadParams:
    path = folder / "params.yaml"
    path.write_text(overlay((ROOT / "params.yaml").read_text(), {"download": {**PLAIN, **values}}))
    download: DownloadParams = read_params(path).download
    return download


def faults(folder: Path, values: dict[str, Any]) -> list[str]:
    with pytest.raises(ParameterError) as caught:
        read(folder, values)
    return [line for line in str(caught.value).splitlines() if line.startswith("  - ")]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"source": "folder", "root": "a/b", "splits": {"learn": "train", "a/judge": "test"}},
        {"source": "folder", "splits": {}},
        {"source": "archive", "url": "https://x.org/a.zip", "sha256": "0" * 64},
        {"source": "archive", "encoding": "gb18030"},
        TABLE,
        {**TABLE, "table": "a/b.PARQUET", "split_column": "part", "group_column": "animal",
         "url_column": "url", "sha256_column": "sha", "root": "images", "splits": {"1": "train"}},
        {**TABLE, "path_column": None, "url_column": "url"},
        TFDS,
        {**TFDS, "name": "imagenet_resized/8x8:0.1.0", "label_column": "kind",
         "path_column": "image", "group_column": "animal", "splits": {"extra": "train"}},
        {**TABLE, "path_suffix": ".jpg", "follow_links": True},
        {"source": "folder", "follow_links": False, "group": "folder"},
        {"source": "archive", "group": "patient([0-9]+)"},
        S3,
        {**S3, "url": "s3://pets/", "endpoint_url": "http://127.0.0.1:9000", "profile": "lab"},
        {**S3, "sha256": "0" * 64, "encoding": "gb18030", "anonymous": True, "group": "folder"},
        {**S3, "source": "gs", "url": "gs://pets/in", "anonymous": True, "splits": {}},
        {**S3, "source": "abfs", "url": "abfs://pets/in", "root": "a"},
        KAGGLE,
        {**KAGGLE, "root": "archive", "splits": {"dev": "validation"}},
    ],
)  # fmt: skip
def test_what_belongs_together(tmp_path: Path, values: dict[str, Any]) -> None:
    got = read(tmp_path, values).model_dump()
    assert {key: got[key] for key in values} == values


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({**TFDS, "url": "http://x.org"}, "`url` is for `source: archive | s3 | gs | abfs`"),
        ({"source": "archive", "url": "s3://pets/a.zip"}, "an http(s) address or null with"),
        (
            {
                "source": "archive",
                "url": "https://x.org/a?X-Amz-Signature=s3cr3t",
                "sha256": "0" * 64,
            },
            "without a token or a signature. Got 'https://x.org/a?X-Amz-Signature=…",
        ),
        ({**S3, "url": None}, "as in s3://BUCKET/PREFIX, with `source: s3`. Got null"),
        ({**S3, "url": "https://s3.amazonaws.com/pets"}, "as in s3://BUCKET/PREFIX, with"),
        ({**S3, "url": "gs://pets"}, "as in s3://BUCKET/PREFIX, with"),
        ({**S3, "url": "s3://KEY:SECRET@pets/in"}, "It has no user, no key and no query"),
        ({**S3, "url": "s3://pets/in?versionId=3"}, "It has no user, no key and no query"),
        ({**S3, "endpoint_url": "http://jane:pw@127.0.0.1"}, "`download.endpoint_url` parameter"),
        ({**S3, "source": "gs", "url": "gs://pets", "profile": "lab"}, "is for `source: s3`"),
        (
            {"source": "archive", "url": "https://jane:pw@x.org/a.zip", "sha256": "0" * 64},
            "without a user and a password. Got 'https://…@x.org/a.zip'",
        ),
        ({"name": "a:1.0.0"}, "null with `source: embedded`"),
        ({"source": "folder", "table": "a.csv"}, "`table` is for `source: table`"),
        ({**KAGGLE, "label_column": "kind"}, "`label_column` is for `source: table | tfds`"),
        ({**TFDS, "split_column": "part"}, "`split_column` is for `source: table`"),
        ({**TFDS, "root": "a"}, "null with `source: tfds`"),
        ({"splits": {}}, "null with `source: embedded`"),
        ({**TFDS, "name": None}, "`source: tfds`. Got null"),
        ({**TFDS, "name": "cats_vs_dogs"}, "with its version, as in cats_vs_dogs:4.0.1"),
        ({**TFDS, "name": "../etc:1.0.0"}, "Without the version"),
        ({**TFDS, "name": "a/..:1.0.0"}, "Without the version"),
        ({**KAGGLE, "name": "some-one/pets"}, "OWNER/NAME/versions/2"),
        ({**KAGGLE, "name": "some-one/../versions/2"}, "OWNER/NAME/versions/2"),
        ({**KAGGLE, "name": "some-one/pets/versions/0"}, "OWNER/NAME/versions/2"),
        ({**TABLE, "table": None}, "relative to `location`, with `source: table`. Got null"),
        ({**TABLE, "table": "labels.xlsx"}, "a .csv, .tsv or .parquet file. Got 'labels.xlsx'"),
        ({**TABLE, "label_column": None}, "the name of the column with the classes"),
        ({**TABLE, "path_column": None}, "no `path_column`. Got null"),
        ({**TABLE, "path_column": ""}, "a text that is not empty or null. Got ''"),
        ({**TABLE, "sha256_column": "sha"}, "null without a `url_column`. Got 'sha'"),
        ({"source": "folder", "splits": {"dev": "dev"}}, "(train, validation, test), as in"),
        ({"source": "folder", "splits": {"/": "test"}}, "(train, validation, test), as in"),
        ({"source": "folder", "splits": {"dev": 1}}, "(train, validation, test), as in"),
        (
            {"source": "folder", "splits": "train"},
            "train, validation or test) or null. Got 'train'",
        ),
        ({"source": "archive", "encoding": "latin-9"}, "one of utf-8, gb18030"),
        (
            {**TABLE, "encoding": "utf-8"},
            "`encoding` is for `source: archive | kaggle | s3 | gs | abfs`",
        ),
        ({**KAGGLE, "follow_links": True}, "`follow_links` is for `source: folder | table`"),
        ({"source": "folder", "path_suffix": ".jpg"}, "`path_suffix` is for `source: table`"),
        (
            {**TABLE, "group": "folder"},
            "`group` is for `source: folder | archive | kaggle | s3 | gs | abfs`",
        ),
        *(
            ({"source": "folder", "group": group}, "with one group in parentheses")
            for group in ("patient", "(a)(b)", "(", "Folder")
        ),
        ({"source": "web"}, "one of embedded, folder, archive, table, tfds, kaggle, s3, gs, abfs"),
    ],
)
def test_what_does_not(tmp_path: Path, values: dict[str, Any], said: str) -> None:
    found = faults(tmp_path, values)
    assert len(found) == 1, found
    assert said in found[0]
    assert "(params.yaml line " in found[0]


def test_all_of_it_comes_in_one_message(tmp_path: Path) -> None:
    wrong = {**TFDS, "url": "http://x.org", "table": "a.csv", "root": "b", "name": "no version"}
    found = faults(tmp_path, wrong)
    assert len(found) == 4
    for key in ("url", "table", "root", "name"):
        assert any(f"`download.{key}` parameter" in line for line in found)


def test_a_recipe_with_a_source_forgets_the_former_one(tmp_path: Path) -> None:
    read(tmp_path, {**KAGGLE, "root": "archive", "splits": {"dev": "validation"}})
    path = tmp_path / "params.yaml"
    said = recipes.apply(path, [{"download": {"source": "folder", "location": "data/raw"}}])
    assert "download.name: some-one/pets/versions/3 -> null" in said
    assert "download.root: archive -> null" in said
    got = read_params(path).download
    assert (got.source, got.name, got.root, got.splits) == ("folder", None, None, None)
    # What is asked for is not forgotten, and without a source nothing is.
    recipes.apply(path, [{"download": {"source": "folder", "root": "a"}}, {"seed": 3}])
    recipes.apply(path, [{"seed": 4}])
    assert read_params(path).download.root == "a"
    with pytest.raises(ParameterError, match="`name` is for"):
        recipes.apply(path, [{"download": {"source": "folder", "name": "a:1.0.0"}}])
