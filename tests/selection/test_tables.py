"""A comparison for people and programs."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

from PIL import Image

from headstart.selection import tables
from headstart.selection.choice import Budget, choose
from tests.selection.made import measured

FAST, SLOW = measured("mobilenet", 80, 2.0, 3.0), measured("mobilenet_v2", 95, 9.0, 9.0)
CHOICE = choose([FAST, SLOW], Budget(milliseconds=5))


def test_the_table_shows_validation_and_what_is_chosen() -> None:
    head, first, second = tables.table(CHOICE).splitlines()
    assert head.split()[:3] == ["backbone", "linear", "probe"]
    assert "80.0 %" in first
    assert first.endswith("chosen")
    assert "best" in second
    assert second.endswith("over budget")


def test_no_test_score_is_shown_of_what_was_not_asked_for() -> None:
    tested = replace(FAST, test=SLOW.validation)
    assert tables.values(CHOICE, [])["test"] == []
    (row,) = tables.values(CHOICE, [tested])["test"]
    assert row["backbone"] == "mobilenet"
    assert row["linear"]["accuracy"] == 0.95
    assert "linear probe 95.0 % (88.8 % to 97.8 %)" in tables.test_sentence(tested)
    rows = tables.values(CHOICE, [tested])["backbones"]
    assert all("test" not in json.dumps(each) for each in rows)


def test_files_are_written_twice_with_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        tables.write(tmp_path / name, CHOICE, [])
    contents = [
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("one", "two")
    ]
    assert contents[0] == contents[1]
    assert set(contents[0]) == {
        "accuracy-dark.png", "accuracy-light.png", "backbones.csv", "backbones.json"
    }  # fmt: skip
    for name in ("light", "dark"):
        with Image.open(io.BytesIO(contents[0][f"accuracy-{name}.png"])) as image:
            assert image.width > 800
    rows = list(csv.DictReader(io.StringIO(contents[0]["backbones.csv"].decode())))
    assert [row["backbone"] for row in rows] == ["mobilenet", "mobilenet_v2"]
    assert rows[0]["linear_accuracy"] == "0.8"
    assert rows[1]["p_against_best"] == ""
    assert json.loads(contents[0]["backbones.json"])["chosen"] == "mobilenet"


def test_a_folder_with_other_files_is_not_replaced(tmp_path: Path) -> None:
    assert tables.is_ours(tmp_path / "new")
    assert tables.is_ours(tmp_path)
    tables.write(tmp_path / "one", CHOICE, [])
    assert tables.is_ours(tmp_path / "one")
    (tmp_path / "one" / "thesis.txt").touch()
    assert not tables.is_ours(tmp_path / "one")
    assert not tables.is_ours(tmp_path / "one" / "thesis.txt")
