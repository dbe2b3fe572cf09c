"""Features in parts: the same numbers in the same order as in one file, and small changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from headstart._utils.errors import CorruptFileError
from headstart._utils.files import md5_file
from headstart.datasets.manifests import SPLITS
from headstart.features import array_rows, parted_array
from headstart.features.array_rows import ArrayFile
from headstart.features.folder import read_features, row_table, write_features
from headstart.features.parted_array import PartedArray, Vectors
from headstart.training.batches import BatchSource
from tests.features.test_folder import BACKBONE


def images(count: int) -> pd.DataFrame:
    """Rows of a manifest; the second and the fourth are the same image."""
    ids = [hashlib.sha256(b"%d" % (1 if n == 3 else n)).hexdigest() for n in range(count)]
    paths = [f"class/{n * 7919 % 1000:03}.png" for n in range(count)]
    table = pd.DataFrame({"image_id": ids, "path": paths, "label": "a, b"})
    return table.sort_values("path", ignore_index=True)


def vectors(rows: pd.DataFrame) -> Iterator[np.ndarray]:
    for image_id, view in zip(rows["image_id"], rows["view"], strict=True):
        yield np.array([int(image_id[:4], 16), view, 7], np.float32)


def write(
    folder: Path, count: int, views: int = 0, dtype: str = "float32", cache: Path | None = None,
    vectors: Vectors = vectors, record: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    tables = {
        split: row_table(images(count + n), views if split == "train" else 0)
        for n, split in enumerate(SPLITS)
    }
    write_features(
        folder, record or {}, (3,), [(split, rows, vectors) for split, rows in tables.items()],
        backbone=BACKBONE, classes=("a, b",), dtype=dtype, views=views, views_record={},
        cache=cache,
    )  # fmt: skip


def contents(folder: Path) -> dict[str, bytes]:
    found = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    return {path.relative_to(folder).as_posix(): content for path, content in found.items()}


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A features folder of one file per split."""
    write(tmp_path / "whole", 40, views=2)
    return tmp_path / "whole"


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch, whole: Path) -> None:
    monkeypatch.setattr(parted_array, "MOST", 4)
    monkeypatch.setattr(parted_array, "WHOLE", 8)
    monkeypatch.setattr(parted_array, "_OPEN", 2)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("split", SPLITS)
def test_the_rows_are_those_of_one_file(tmp_path: Path, whole: Path, split: str) -> None:
    write(tmp_path / "parted", 40, views=2)
    one, parted = read_features(whole), read_features(tmp_path / "parted")
    assert len(list((tmp_path / "parted" / split).glob("*.npy"))) == 16
    assert parted.rows(split).equals(one.rows(split))
    assert parted.images(split).equals(one.images(split))
    expected = np.asarray(one.array(split))
    found: Any = parted.array(split)
    assert isinstance(found, PartedArray)
    assert (found.shape, found.dtype, found.nbytes) == (
        expected.shape, expected.dtype, expected.nbytes,
    )  # fmt: skip
    assert np.array_equal(np.asarray(found), expected)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("gathered", [False, True])
def test_it_is_indexed_as_an_array_is(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, gathered: bool
) -> None:
    write(tmp_path / "parted", 40, views=2)
    one = read_features(whole).array("train")
    found: Any = read_features(tmp_path / "parted").array("train")
    if gathered:
        assert np.array_equal(read_features(tmp_path / "parted").gathered("train"), one)
        monkeypatch.setattr(array_rows, "RESIDENT_BYTES", one.nbytes - 1)
        found = read_features(tmp_path / "parted").gathered("train")
        assert isinstance(found, ArrayFile)
    mask = np.arange(len(one)) % 3 == 0
    indices: list[Any] = [
        0, -1, np.int64(5), slice(3, 9), slice(None, None, -7), slice(5, 5), [4, 4, 0, -2],
        np.array([[1, 2], [3, 4]]), np.array([], np.int64), mask,
    ]  # fmt: skip
    for index in indices:
        assert np.array_equal(found[index], one[index])
        assert found[index].shape == one[index].shape
    for index in (len(one), -len(one) - 1, [0, len(one)]):
        with pytest.raises(IndexError, match="beyond the 120"):
            found[index]
    assert np.array_equal(np.asarray(found, np.float16), one.astype(np.float16))
    with pytest.raises(ValueError, match="copied"):
        np.array(found, copy=False)


@pytest.mark.usefixtures("small_parts")
def test_heads_train_on_it_in_memory_and_from_the_files(tmp_path: Path, whole: Path) -> None:
    write(tmp_path / "parted", 40)
    array = read_features(tmp_path / "parted").array("train")
    expected = np.asarray(read_features(whole).array("train"))[:40]
    labels = np.zeros(40, np.int32)
    resident = BatchSource.of_array(array, labels)
    assert resident.array is not None
    assert np.array_equal(resident.array, expected)
    mapped = BatchSource.of_array(array, labels, resident_bytes=10)
    assert mapped.array is None
    rows = np.array([7, 3, 39], np.int32)
    assert np.array_equal(mapped.take(rows, 1), expected[rows])


@pytest.mark.usefixtures("small_parts")
def test_one_more_image_changes_one_part(tmp_path: Path) -> None:
    write(tmp_path / "a", 40, views=1)
    write(tmp_path / "b", 41, views=1)
    before, after = contents(tmp_path / "a"), contents(tmp_path / "b")
    changed = {name for name, content in after.items() if before[name] != content}
    for split in SPLITS:
        assert len({name for name in changed if name.startswith(f"{split}/")}) == 2
    assert len(changed) == 7  # features.json, too


@pytest.mark.usefixtures("small_parts")
def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write(tmp_path / name, 40, dtype="float16")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("damage", ["flip", "cut", "absent", "table", "rows", "moved"])
def test_damage_is_named(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "features"
    write(folder, 40)
    array, table = folder / "train" / "005.npy", folder / "train" / "005.csv"
    content = bytearray(array.read_bytes())
    if damage == "flip":
        content[-1] ^= 1
        array.write_bytes(content)
    elif damage == "cut":
        array.write_bytes(content[:-1])
    elif damage == "absent":
        array.unlink()
    elif damage == "table":
        table.write_text(table.read_text().replace("class/", "class/0", 1))
    else:
        header = json.loads((folder / "features.json").read_text())
        entries = header["splits"]["train"]["parts"]
        if damage == "rows":
            entries[5]["rows"] += 1
        else:  # two parts with as many rows change places
            other = next(
                n for n, each in enumerate(entries)
                if n != 5 and each["rows"] == entries[5]["rows"]
            )  # fmt: skip
            entries[5], entries[other] = entries[other], entries[5]
            for ending in ("npy", "csv"):
                one, two = (folder / "train" / f"{n:03}.{ending}" for n in (5, other))
                first, second = one.read_bytes(), two.read_bytes()
                one.write_bytes(second)
                two.write_bytes(first)
        (folder / "features.json").write_text(json.dumps(header))
    with pytest.raises(CorruptFileError, match=r"train[/\\:]|parts do not have"):
        read_features(folder)


def as_dvc(folder: Path, cache: Path) -> dict[str, Path]:
    """Move a folder's files into a cache as DVC does; return where each is, by its path."""
    found = {}
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        md5 = md5_file(path)
        target = found[path.relative_to(folder).as_posix()] = (
            cache / "files" / "md5" / md5[:2] / md5[2:]
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    return found


class Asked:
    """Counts the vectors that are read."""

    def __init__(self) -> None:
        self.rows = 0

    def __call__(self, rows: pd.DataFrame) -> Iterator[np.ndarray]:
        self.rows += len(rows)
        yield from vectors(rows)


@pytest.mark.usefixtures("small_parts")
def test_unchanged_parts_are_copied_from_the_cache_of_dvc(tmp_path: Path) -> None:
    cache, asked = tmp_path / "cache", Asked()
    write(tmp_path / "first", 40, cache=cache)
    as_dvc(tmp_path / "first", cache)
    write(tmp_path / "again", 41, cache=cache, vectors=asked)
    write(tmp_path / "alone", 41)
    assert contents(tmp_path / "again") == contents(tmp_path / "alone")
    # One image is new in each split; the rows of validation and test were those of others, too.
    assert 0 < asked.rows < 40
    read_features(tmp_path / "again")


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(
    "changed", [{"dtype": "float16"}, {"record": {"engine": "keras"}}, {"views": 1}]
)
def test_a_part_of_other_features_is_not_copied(tmp_path: Path, changed: dict[str, Any]) -> None:
    cache, asked = tmp_path / "cache", Asked()
    write(tmp_path / "first", 40, cache=cache)
    as_dvc(tmp_path / "first", cache)
    write(tmp_path / "other", 40, cache=cache, vectors=asked, **changed)
    write(tmp_path / "alone", 40, **changed)
    assert contents(tmp_path / "other") == contents(tmp_path / "alone")
    assert asked.rows == 123 + 40 * changed.get("views", 0)


@pytest.mark.usefixtures("small_parts")
def test_a_damaged_file_of_the_cache_is_not_copied(tmp_path: Path) -> None:
    cache, asked = tmp_path / "cache", Asked()
    write(tmp_path / "first", 40, cache=cache)
    objects = as_dvc(tmp_path / "first", cache)
    damaged = objects["train/003.npy"]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    write(tmp_path / "again", 40, cache=cache, vectors=asked)
    write(tmp_path / "alone", 40)
    assert contents(tmp_path / "again") == contents(tmp_path / "alone")
    assert 0 < asked.rows < 20
