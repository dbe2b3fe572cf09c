"""Small inputs made after public reports: the right classes, or the reason with its cure."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from headstart._utils.errors import HeadstartError, SourceError
from headstart.datasets.manifests import read_images
from headstart.datasets.parameters import SplitParams
from headstart.datasets.splits import split
from tests.conftest import ROOT
from tests.images.made import pixels, png
from tests.stages.test_download import by_class, run

pytestmark = pytest.mark.shared

FOLDER = {"source": "folder"}
TABLE = {"source": "table", "table": "labels.csv", "path_column": "file", "label_column": "label"}
HUGGING_FACE = {
    "source": "table", "table": "t.parquet", "path_column": "image", "label_column": "label",
}  # fmt: skip
FRUITS = {"Birne": 3, "\N{LATIN CAPITAL LETTER A WITH DIAERESIS}pfel": 3,
          "\N{LATIN CAPITAL LETTER O WITH DIAERESIS}l": 3}  # fmt: skip
CHINESE = {"\N{CJK UNIFIED IDEOGRAPH-732B}": 3, "\N{CJK UNIFIED IDEOGRAPH-72D7}": 3}


@pytest.mark.parametrize(
    ("name", "options", "classes"),
    [
        ("infozip_u.zip", {}, FRUITS),
        ("mac.zip", {}, FRUITS),
        ("gbk.zip", {"encoding": "gb18030"}, CHINESE),
        ("l-train2017", FOLDER, {"cat": 6, "dog": 6}),
        ("l-ea", FOLDER, {"cat": 3, "dog": 3}),
        ("l-sd", {**FOLDER, "root": "Images"}, {"n0208-Chihuahua": 3, "n0208-Pug": 3}),
        ("t-space-label", TABLE, {"cat": 4, "dog": 4}),
        ("t-noext", {**TABLE, "path_suffix": ".jpg"}, {"cat": 4, "dog": 4}),
        ("p-hf", HUGGING_FACE, {"cat": 3, "dog": 3}),
    ],
)
def test_the_right_classes(
    shared: Path, tmp_path: Path, name: str, options: dict[str, Any], classes: dict[str, int]
) -> None:
    assert by_class(run(shared / "cases" / name, tmp_path, **options)) == classes


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("gbk.zip", {}, "`download.encoding: gb18030`"),
        ("l-pets", FOLDER, "annotations may hold annotations or masks"),
        ("l-sd", FOLDER, "`download.root: Images`"),
        ("l-lfs", FOLDER, "`git lfs pull`"),
        ("l-heic", FOLDER, "convert it to PNG or JPEG, as docs/your-images.md shows"),
        ("t-backslash", TABLE, "write img/0.jpg"),
        ("t-noext", TABLE, "`download.path_suffix: .jpg`"),
        ("t-case", TABLE, "img/0.jpg, whose letters differ in case"),
    ],
)
def test_the_reason_and_the_cure(
    shared: Path, tmp_path: Path, name: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(SourceError) as caught:
        run(shared / "cases" / name, tmp_path, **options)
    assert said in str(caught.value)


def test_a_test_split_inside_of_train(shared: Path, tmp_path: Path) -> None:
    run(shared / "cases" / "leak", tmp_path, **FOLDER)
    params = SplitParams(validation=0.1, test=0.1, predefined="keep", duplicates="together")
    with pytest.raises(HeadstartError, match=r"`split\.predefined: ignore`"):
        split(read_images(tmp_path / "images.csv"), params, 42)


def test_the_code_of_the_page_joins_parquet_files(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs/sources.md").read_text(encoding="utf-8")
    after = page[page.index("### Images inside a Parquet file") :]
    code = re.search(r"```python\n(.*?)```", after, re.DOTALL)
    assert code is not None
    (tmp_path / "data/parts").mkdir(parents=True)
    for number in range(2):
        part = tmp_path / f"data/parts/train-0000{number}-of-00002.parquet"
        shutil.copy(shared / "cases/p-hf/t.parquet", part)
    monkeypatch.chdir(tmp_path)
    exec(compile(code[1], "docs/sources.md", "exec"), {})  # noqa: S102 - a page of ours
    options = {**HUGGING_FACE, "table": "train.parquet"}
    found = by_class(run(tmp_path / "data/raw", tmp_path / "out", **options))
    assert found == {"cat": 6, "dog": 6}


@pytest.mark.parametrize(
    ("name", "mean"),
    [("gray2_trns0.png", 212), ("gray16_trns0.png", 212), ("gray16_whiteIsZero.tif", 109),
     ("png_ztxt_2MB.png", None)],
)  # fmt: skip
def test_the_right_pixels(shared: Path, tmp_path: Path, name: str, mean: int | None) -> None:
    for label in ("cat", "dog"):
        (tmp_path / "raw" / label).mkdir(parents=True)
        (tmp_path / "raw" / label / "a.png").write_bytes(png(seed=len(label) + ord(label[0])))
    shutil.copy(shared / "cases" / name, tmp_path / "raw/cat")
    counts = run(tmp_path / "raw", tmp_path / "out", **FOLDER, formats=["png", "tiff"])
    assert by_class(counts) == {"cat": 2, "dog": 1}
    if mean is not None:
        got = pixels((shared / "cases" / name).read_bytes(), 32)
        assert round(float(got.mean())) == mean


def test_every_case_is_held(shared: Path) -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    names = {path.name for path in (shared / "cases").iterdir()} - {"README.md"}
    assert sorted(name for name in names if f'"{name}"' not in text) == []
