from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("tensorflow_datasets", reason="needs the extra `tfds`")

from headstart._utils.errors import SourceError
from headstart.datasets.manifests import read_images
from headstart.sources.source import Assignment
from headstart.sources.tfds import TfdsSource
from headstart.sources.tfds_prepared import find_prepared
from tests.conftest import ROOT
from tests.sources.prepare_tfds import COUNTS, jpeg
from tests.stages import test_download as download

PREPARE = "from tests.sources import prepare_tfds; prepare_tfds.main({folder!r})"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``tiny_pets`` and ``tiny_arrays`` in both formats, as TFDS itself prepares them."""
    folder = tmp_path_factory.mktemp("prepared")
    done = subprocess.run(
        [sys.executable, "-c", PREPARE.format(folder=str(folder))],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(autouse=True)
def _no_other_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)


def pets(location: Path, **changes: Any) -> TfdsSource:
    values: dict[str, Any] = {
        "source": "tfds",
        "name": "tiny_pets:1.2.0",
        "max_image_bytes": 1_000_000,
        "max_total_bytes": 10_000_000,
    }
    return TfdsSource(download.parameters(**{**values, **changes}), location)


def assignments(source: TfdsSource) -> dict[str, Assignment]:
    return {each.path: each.assignment for each in source.entries if each.assignment}


def usable(source: TfdsSource) -> dict[str, Any]:
    return dict(source.contents({each.path for each in source.entries if not each.rejection}))


@pytest.mark.parametrize("kind", ["tfrecord", "array_record"])
def test_the_images_are_the_files_that_were_prepared(prepared: Path, kind: str) -> None:
    source = pets(prepared / kind)
    entries = {entry.path: entry for entry in source.entries}
    assert len(entries) == sum(COUNTS.values())
    contents = usable(source)
    # In TFDS' own order, which a hash of its keys shuffles: train was made of the seeds 0 to 8.
    train = {content for path, content in contents.items() if path.startswith("train/")}
    assert train == {jpeg(seed) for seed in range(8)}
    assert {contents[f"test/{number:08}"] for number in range(4)} == {
        jpeg(seed) for seed in range(9, 13)
    }
    assert all(entries[path].size == len(content) for path, content in contents.items())
    for path, content in contents.items():
        seed = next(seed for seed in range(13) if jpeg(seed) == content)
        number = seed if seed < 9 else seed - 9
        split = path.split("/")[0]
        assert assignments(source)[path] == Assignment(["cat", "dog"][number % 2], split)
    assert dict(source.contents({"test/00000002"})) == {"test/00000002": contents["test/00000002"]}


def test_what_has_no_class_and_what_no_known_split_is_rejected(prepared: Path) -> None:
    source = pets(prepared / "tfrecord")
    refused = {each.path: each.rejection for each in source.entries if each.rejection}
    assert sorted(path.split("/")[0] for path in refused) == ["extra", "extra", "train"]
    assert {reason for reason, _ in filter(None, refused.values())} == {"no_class"}
    said = source.summary
    assert "4 of test, 8 of train; 2 classes (cat, dog) from 'label'" in said
    assert "Left out: extra" in said


def test_splits_are_what_the_user_says(prepared: Path) -> None:
    source = pets(prepared / "tfrecord", splits={"train": "train", "extra": "validation"})
    extra = assignments(source)["extra/00000000"]
    assert isinstance(extra, Assignment)
    assert extra.predefined_split == "validation"
    assert {path.split("/")[0] for path in usable(source)} == {"train", "extra"}
    whole = pets(prepared / "tfrecord", splits={})
    places = [assignments(whole)[path] for path in usable(whole)]
    assert {place.predefined_split for place in places if isinstance(place, Assignment)} == {""}
    assert len(places) == 14
    with pytest.raises(SourceError, match=r"names tset; tiny_pets:1\.2\.0 has .* extra, test"):
        pets(prepared / "tfrecord", splits={"tset": "test"})


def test_other_features(prepared: Path) -> None:
    source = pets(prepared / "tfrecord", label_column="color", group_column="animal")
    places = [assignments(source)[path] for path in usable(source)]
    # Named by another feature, the one without a class has one, too.
    assert len(places) == 13
    assert {place.label for place in places if isinstance(place, Assignment)} == {
        "black", "red", "white",
    }  # fmt: skip
    assert {place.group for place in places if isinstance(place, Assignment)} == {"0", "1", "2"}


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ({"path_column": "imgae"}, "no 'imgae' .`download.path_column`"),
        ({"label_column": "lable", "group_column": "x"}, "no 'lable'(.|\n)*no 'x'"),
        ({"path_column": "label"}, "not an image"),
        ({"label_column": "image"}, "not a class"),
        ({"label_column": "boxes"}, "not a class"),
    ],
)
def test_features_that_do_not_serve(prepared: Path, features: dict[str, str], said: str) -> None:
    with pytest.raises(SourceError, match=said) as caught:
        pets(prepared / "tfrecord", **features)
    assert "Its features" in str(caught.value)


@pytest.mark.parametrize("kind", ["tfrecord", "array_record"])
def test_arrays_become_png_files(prepared: Path, kind: str, tmp_path: Path) -> None:
    source = pets(
        prepared / kind, name="tiny_arrays:1.0.0", path_column="pixels", label_column="kind"
    )
    contents = usable(source)
    made = {
        np.random.default_rng(number).integers(0, 256, (8, 9, 3), dtype=np.uint8).tobytes():
        "ab"[number % 2]
        for number in range(4)
    }  # fmt: skip
    for path, content in contents.items():
        (tmp_path / "x.png").write_bytes(content)
        with Image.open(tmp_path / "x.png") as image:
            assert image.format == "PNG"
            assert assignments(source)[path] == Assignment(made.pop(image.tobytes()), "train")
    assert not made
    with pytest.raises(SourceError, match="no 'image'"):
        pets(prepared / kind, name="tiny_arrays:1.0.0")


def test_where_it_is_looked_for(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = prepared / "tfrecord"
    own = data / "tiny_pets" / "1.2.0"
    for location in (data, own.parent, own):
        assert find_prepared("tiny_pets:1.2.0", location) == own
    monkeypatch.setenv("TFDS_DATA_DIR", str(data))
    assert find_prepared("tiny_pets:1.2.0", tmp_path) == own
    monkeypatch.delenv("TFDS_DATA_DIR")
    shutil.copytree(data, tmp_path / "home" / "tensorflow_datasets")
    found = find_prepared("tiny_pets:1.2.0", tmp_path)
    assert found == tmp_path / "home" / "tensorflow_datasets" / "tiny_pets" / "1.2.0"


def test_the_default_config_is_found(prepared: Path) -> None:
    data = prepared / "tfrecord"
    own = data / "tiny_sizes" / "small" / "1.0.0"
    for location in (data, data / "tiny_sizes", own):
        for name in ("tiny_sizes:1.0.0", "tiny_sizes/small:1.0.0"):
            assert find_prepared(name, location) == own
    assert find_prepared("tiny_sizes/big:1.0.0", data) == data / "tiny_sizes" / "big" / "1.0.0"
    classes = {
        place.label
        for place in assignments(pets(data, name="tiny_sizes:1.0.0")).values()
        if isinstance(place, Assignment)
    }
    assert classes == {"small_cat", "small_dog"}


@pytest.mark.parametrize(
    ("name", "location", "meant"),
    [
        ("cats_vs_dogs:1.2.0", "tiny_pets/1.2.0", "tiny_pets:1.2.0"),  # another name
        ("tiny_pets:1.2.0", "renamed/1.2.0", "tiny_arrays:1.0.0"),  # a folder that was renamed
        ("tiny_sizes/small:1.0.0", "tiny_sizes/big/1.0.0", "tiny_sizes/big:1.0.0"),
        ("tiny_sizes:1.0.0", "tiny_sizes/big/1.0.0", "tiny_sizes/big:1.0.0"),  # no default
        ("tiny_sizes/huge:1.0.0", "", "tiny_sizes/big:1.0.0 or tiny_sizes/small:1.0.0"),
        ("tiny_sizes:2.0.0", "", "tiny_sizes/big:1.0.0 or tiny_sizes/small:1.0.0"),
        ("tiny_pet:1.2.0", "", "tiny_pets:1.2.0"),
    ],
)
def test_another_data_set_is_never_read(
    name: str, location: str, meant: str, prepared: Path, tmp_path: Path
) -> None:
    shutil.copytree(prepared / "tfrecord", tmp_path, dirs_exist_ok=True)
    shutil.copytree(tmp_path / "tiny_arrays" / "1.0.0", tmp_path / "renamed" / "1.2.0")
    with pytest.raises(SourceError, match="is not prepared") as caught:
        pets(tmp_path / location, name=name)
    hint = re.search(r"(?:Did you mean|Prepared there:) (.+?)[?.] ", str(caught.value))
    assert hint
    assert meant in hint[1]
    first = re.split(r" or |, ", hint[1])[0]
    find_prepared(first, tmp_path / location)  # The remedy works.


def test_a_damaged_description_is_no_data_set(prepared: Path, tmp_path: Path) -> None:
    data = copied(prepared, tmp_path)
    described = data / "tiny_pets" / "1.2.0" / "dataset_info.json"
    for content in (b"", b"[]", b'{"name": 3}', b"[" * 100_000, b"\xff"):
        described.write_bytes(content)
        with pytest.raises(SourceError, match="is not prepared"):
            pets(data)


def test_a_data_set_that_is_not_prepared_is_reported_with_the_command(prepared: Path) -> None:
    with pytest.raises(SourceError) as caught:
        pets(prepared / "tfrecord", name="tiny_pets:9.0.0")
    said = str(caught.value)
    assert "not prepared" in said
    assert "Did you mean tiny_pets:1.2.0?" in said
    assert "tfds.builder('tiny_pets:9.0.0'" in said
    assert "network" in said


def copied(prepared: Path, folder: Path) -> Path:
    shutil.copytree(prepared / "tfrecord" / "tiny_pets", folder / "tiny_pets")
    return folder


def damaged(data: Path, place: int | None) -> None:
    """Invert a byte of the training records; None: one in the middle of the first image."""
    file = next(data.rglob("*train*"))
    content = bytearray(file.read_bytes())
    content[content.index(b"\xff\xd8\xff") + 40 if place is None else place] ^= 0xFF
    file.write_bytes(content)


@pytest.mark.parametrize("place", [3, 9])
def test_damaged_lengths_of_records(prepared: Path, tmp_path: Path, place: int) -> None:
    damaged(data := copied(prepared, tmp_path), place)
    with pytest.raises(SourceError, match="its checksum"):
        pets(data)


def test_a_damaged_image_is_judged_by_its_decoding(prepared: Path, tmp_path: Path) -> None:
    damaged(data := copied(prepared, tmp_path), None)
    assert set(usable(pets(data)).values()) != set(usable(pets(prepared / "tfrecord")).values())


def test_incomplete_data(prepared: Path, tmp_path: Path) -> None:
    data = copied(prepared, tmp_path)
    file = next(data.rglob("*train*"))
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(SourceError, match="ends in the middle"):
        pets(data)
    file.write_bytes(b"")
    with pytest.raises(SourceError, match=r"0 examples, and dataset_info\.json says 9"):
        pets(data)
    file.unlink()
    with pytest.raises(SourceError, match="absent"):
        pets(data)


def test_classes_of_strangers_are_not_imported(prepared: Path, tmp_path: Path) -> None:
    data = copied(prepared, tmp_path)
    file = data / "tiny_pets" / "1.2.0" / "features.json"
    described = json.loads(file.read_text())
    described["featuresDict"]["features"]["color"]["pythonClassName"] = "antigravity.Text"
    file.write_text(json.dumps(described))
    with pytest.raises(SourceError, match=r"'antigravity\.Text'"):
        pets(data)
    assert "antigravity" not in sys.modules
    file.write_text("{")
    with pytest.raises(SourceError, match="cannot be read"):
        pets(data)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("shardLengths", ["9000000000000"], "at most 2,000,000"),
        ("filepathTemplate", "../{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}", "outside of it"),
        ("filepathTemplate", "/etc/passwd", "outside of it|cannot be read"),
    ],
)
def test_descriptions_are_not_believed(
    prepared: Path, tmp_path: Path, key: str, value: object, said: str
) -> None:
    data = copied(prepared, tmp_path)
    file = data / "tiny_pets" / "1.2.0" / "dataset_info.json"
    described = json.loads(file.read_text())
    described["splits"][0][key] = value
    file.write_text(json.dumps(described))
    with pytest.raises(SourceError, match=said):
        pets(data)


def test_bounds(prepared: Path) -> None:
    with pytest.raises(SourceError, match="max_total_bytes"):
        pets(prepared / "tfrecord", max_total_bytes=100)
    small = pets(prepared / "tfrecord", max_image_bytes=500)
    refused = {each.rejection[0] for each in small.entries if each.rejection}
    assert refused == {"too_large", "no_class"}


def test_the_stage_reads_it(prepared: Path, tmp_path: Path) -> None:
    values = {"source": "tfds", "name": "tiny_pets:1.2.0", "group_column": "animal"}
    outputs = []
    for kind in ("tfrecord", "array_record"):
        counts = download.run(prepared / kind, tmp_path / kind, **values)
        assert download.by_class(counts) == {"cat": 6, "dog": 6}
        assert counts["predefined_splits"] == {"train": 8, "test": 4}
        assert counts["rejected_by_reason"] == {"no_class": 3}
        outputs.append(download.everything(tmp_path / kind))
    assert outputs[0].keys() == outputs[1].keys()
    images = read_images(tmp_path / "tfrecord" / "images.csv")
    assert set(images["image_id"]) == {
        hashlib.sha256(jpeg(seed)).hexdigest() for seed in range(13) if seed != 8
    }
    assert set(images["group"]) == {"0", "1", "2"}


def test_tensorflow_is_not_imported(prepared: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from headstart.sources.tfds import TfdsSource\n"
        "from tests.stages.test_download import parameters\n"
        "params = parameters(source='tfds', name='tiny_pets:1.2.0')\n"
        f"for kind in ('tfrecord', 'array_record'):\n"
        f"    source = TfdsSource(params, Path({str(prepared)!r}) / kind)\n"
        "    dict(source.contents({'train/00000000'}))\n"
        "print('tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False"
