"""Images inside a Parquet file, and class names in its metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from headstart._utils.errors import SourceError
from headstart.sources import parquet_file
from headstart.sources.source import Assignment
from tests.images import made as make
from tests.sources.test_table import opened, places, refusals

pa = pytest.importorskip("pyarrow", reason="needs the extra `parquet`")
parquet = pytest.importorskip("pyarrow.parquet")

COLUMNS = {"label": "label", "path": "image"}
IMAGES = [make.jpeg(seed=number) for number in range(6)]
NAMES = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}


def write(
    folder: Path, images: Sequence[Any], labels: Sequence[Any], stated: Mapping[str, Any] = NAMES,
    **options: Any,
) -> None:  # fmt: skip
    table = pa.table({"image": images, "label": labels})
    table = table.replace_schema_metadata({"huggingface": json.dumps(stated)})
    parquet.write_table(table, folder / "t.parquet", **options)


def embedded(images: Sequence[bytes | None]) -> list[dict[str, Any]]:
    return [{"bytes": content, "path": "same.jpg"} for content in images]


def contents(folder: Path) -> dict[str, Any]:
    source = opened(folder, COLUMNS, table="t.parquet")
    return dict(source.contents(list(places(source))))


@pytest.mark.parametrize("kind", [embedded, list])
@pytest.mark.parametrize("group", [1, 4, 100])
def test_the_images_are_the_bytes_of_the_rows(
    tmp_path: Path, kind: Any, group: int, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, kind(IMAGES), [0, 1] * 3, row_group_size=group)
    found = places(opened(tmp_path, COLUMNS, table="t.parquet"))
    names = [f"t.parquet/{number:07}" for number in range(1, 7)]
    assert found == {name: Assignment(("cat", "dog")[at % 2], "") for at, name in enumerate(names)}
    assert contents(tmp_path) == dict(zip(names, IMAGES, strict=True))
    assert "0 cat, 1 dog" in capsys.readouterr().out


def test_rows_without_an_image_or_a_class_are_rejected(tmp_path: Path) -> None:
    write(tmp_path, embedded([IMAGES[0], None, b"", IMAGES[1], IMAGES[2]]), [0, 0, 1, -1, None])
    source = opened(tmp_path, COLUMNS, table="t.parquet")
    assert list(places(source)) == ["t.parquet/0000001"]
    refused = refusals(source)
    assert [refused[f"t.parquet:{row}"] for row in (2, 3)] == [
        f"bad_row: row {row}: it holds no image" for row in (2, 3)
    ]
    assert all(refused[f"t.parquet:{row}"].endswith("it has no class") for row in (4, 5))


def test_without_names_the_numbers_are_the_classes(tmp_path: Path) -> None:
    stated: Mapping[str, Any]
    for stated in ({}, {"info": []}, {"info": {"features": {"label": {"names": [1, 2]}}}}):
        write(tmp_path, embedded(IMAGES), [0, 1] * 3, stated)
        found = places(opened(tmp_path, COLUMNS, table="t.parquet"))
        assert {each.label for each in found.values()} == {"0", "1"}


def test_a_number_without_a_name_is_refused(tmp_path: Path) -> None:
    write(tmp_path, embedded(IMAGES), [0, 1, 2, 0, 1, 0])
    with pytest.raises(SourceError, match=r"'label' holds 2, but .* classes 0 to 1"):
        opened(tmp_path, COLUMNS, table="t.parquet")


def test_too_many_bytes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, embedded(IMAGES), [0, 1] * 3, row_group_size=3)
    with pytest.raises(SourceError, match=r"`download\.max_total_bytes` allows 1,000"):
        opened(tmp_path, COLUMNS, table="t.parquet", max_total_bytes=1000)
    monkeypatch.setattr(parquet_file, "_MOST_GROUP", 1000)
    with pytest.raises(SourceError, match=r"row_group_size=1000"):
        opened(tmp_path, COLUMNS, table="t.parquet")


def test_the_text_of_a_table_is_bounded_and_its_images_are_not_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, embedded(IMAGES), [0, 1] * 3)
    monkeypatch.setattr(parquet_file, "MOST_BYTES", 400)
    assert len(contents(tmp_path)) == 6
    monkeypatch.setattr(parquet_file, "MOST_BYTES", 10)
    with pytest.raises(SourceError, match=r"unpack to .* bytes; at most .* 10 are read"):
        opened(tmp_path, COLUMNS, table="t.parquet")


@pytest.mark.parametrize("keep", [0, 10, 0.3, 0.9])
def test_a_damaged_file_is_named(tmp_path: Path, keep: float) -> None:
    write(tmp_path, embedded(IMAGES), [0, 1] * 3)
    file = tmp_path / "t.parquet"
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content) if 0 < keep < 1 else keep)])
    with pytest.raises(SourceError, match=r"t\.parquet cannot be read"):
        opened(tmp_path, COLUMNS, table="t.parquet")


def test_a_file_that_changes_is_noticed(tmp_path: Path) -> None:
    write(tmp_path, embedded(IMAGES), [0, 1] * 3)
    source = opened(tmp_path, COLUMNS, table="t.parquet")
    write(tmp_path, embedded([*IMAGES[1:], IMAGES[0] + b"more"]), [0, 1] * 3)
    found = dict(source.contents(list(places(source))))
    assert "the file changed while it was read" in str(found["t.parquet/0000006"])


def test_a_column_of_images_is_no_label(tmp_path: Path) -> None:
    write(tmp_path, embedded(IMAGES), [0, 1] * 3)
    with pytest.raises(SourceError, match=r"Name a column of images in `download\.path_column`"):
        opened(tmp_path, {"label": "image", "path": "label"}, table="t.parquet")
