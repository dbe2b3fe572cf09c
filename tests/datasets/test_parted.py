"""Manifests of many images: a folder of parts reads as the one file would."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart._utils.errors import CorruptFileError
from headstart.datasets import parted, parts
from headstart.datasets.manifests import (
    IMAGES,
    frame,
    read_images,
    read_split,
    write_images,
    write_split,
)
from headstart.datasets.parts import at_least, part_of


def table(count: int, first: int = 0) -> pd.DataFrame:
    """Rows of a manifest, of which two have the same bytes."""
    rows = []
    for number in range(first, first + count):
        content = b"the same" if number in {1, 3} else b"image %d" % number
        rows.append(
            {
                **dict.fromkeys(IMAGES, 0),
                "image_id": hashlib.sha256(content).hexdigest(),
                "path": f"=class/{number * 7919 % 1000:03}, é.png",
                "label": "NA",
                "predefined_split": "",
                "format": "png",
                "group": "",
            }
        )
    return frame(sorted(rows, key=lambda row: str(row["path"])), IMAGES)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MOST", 4)
    monkeypatch.setattr(parted.write_parted, "__defaults__", (8,))


@given(count=st.integers(0, 2_000_000), least=st.sampled_from([1, 64]))
def test_the_number_is_a_power_of_two_that_grows_with_the_set(count: int, least: int) -> None:
    found = at_least(count, least)
    assert found.bit_count() == 1
    assert found >= least
    most = parts.MOST * max(1, found / parts.FEW)
    assert count <= found * most
    assert found == least or count > found // 2 * max(parts.MOST, most / 2)
    assert found <= max(least, parts.FEW, math.isqrt(2 * count))


@given(image_id=st.binary(min_size=32, max_size=32).map(bytes.hex), power=st.integers(0, 20))
def test_twice_as_many_parts_split_each(image_id: str, power: int) -> None:
    assert part_of(image_id, 2 << power) % (1 << power) == part_of(image_id, 1 << power)


@pytest.mark.usefixtures("small_parts")
def test_a_folder_of_parts_reads_as_the_file_would(tmp_path: Path) -> None:
    images = table(40)
    write_images(tmp_path / "images.csv", images)
    assert len(list((tmp_path / "images.csv").iterdir())) == 16
    assert read_images(tmp_path / "images.csv").equals(images)
    split = images.assign(split="train")
    write_split(tmp_path / "split.csv", split)
    assert read_split(tmp_path / "split.csv").equals(split)


@pytest.mark.usefixtures("small_parts")
def test_one_more_image_changes_one_part(tmp_path: Path) -> None:
    def contents(count: int) -> dict[str, bytes]:
        write_images(tmp_path / "images.csv", table(count))
        return {path.name: path.read_bytes() for path in (tmp_path / "images.csv").iterdir()}

    before, after = contents(40), contents(41)
    assert sum(before[name] != content for name, content in after.items()) == 1


@pytest.mark.usefixtures("small_parts")
def test_a_table_may_become_a_folder_and_a_file_again(tmp_path: Path) -> None:
    path = tmp_path / "images.csv"
    for count in (5, 40, 5):
        write_images(path, table(count))
        assert path.is_dir() == (count > 8)
        assert read_images(path).equals(table(count))
    assert [each.name for each in tmp_path.iterdir()] == ["images.csv"]


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("damage", ["middle", "last", "more", "columns", "swapped"])
def test_damaged_parts_are_found(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "images.csv"
    write_images(path, table(40))
    if damage == "middle":
        (path / "003.csv").unlink()
    elif damage == "last":
        (path / "015.csv").unlink()
    elif damage == "more":
        (path / "016.csv").write_bytes((path / "015.csv").read_bytes())
    elif damage == "columns":
        text = (path / "003.csv").read_text(encoding="utf-8")
        (path / "003.csv").write_text(text.replace("label", "class", 1), encoding="utf-8")
    else:
        (path / "000.csv").rename(path / "x")
        (path / "015.csv").rename(path / "000.csv")
        (path / "x").rename(path / "015.csv")
    with pytest.raises(CorruptFileError, match=r"images\.csv"):
        read_images(path)
