"""No cell of our tables is run by a spreadsheet, and every text is read back unchanged."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart._utils.csv_text import csv_text, neutral, original, restored
from headstart.datasets.manifests import (
    REJECTED,
    SPLIT,
    frame,
    read_rejected,
    read_split,
    write_rejected,
    write_split,
)
from headstart.evaluation.predictions import Predictions, read_predictions, write_predictions
from headstart.images.thumbnails import INDEX, ThumbnailFolder
from headstart.serving.inputs import Input
from headstart.serving.results import answer, feature_file, writer

ROOT = Path(__file__).parents[2]
BAD = [
    '=HYPERLINK("http://evil","x")', "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1",
    "'=1", "''@x",
]  # fmt: skip
GOOD = ["", "cat", "'s-Hertogenbosch", "''", "a=b", "1-2", "épée", "a+b"]


@pytest.mark.parametrize("text", BAD)
def test_a_formula_becomes_text(text: str) -> None:
    assert neutral(text) == f"'{text}"
    assert original(neutral(text)) == text


@pytest.mark.parametrize("text", GOOD)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert neutral(text) == text
    assert original(text) == text


@given(st.text(alphabet=st.sampled_from("'=+-@\t\r\n＝a ,\"")) | st.text())
def test_every_text_reads_back(text: str) -> None:
    assert original(neutral(text)) == text
    assert not re.match("[=+\\-@\t\r\n]", neutral(text))


def test_numbers_stay_numbers() -> None:
    table = pd.DataFrame({"text": pd.Series(["-1", "x"], dtype="str"), "number": [-1.5, 2.0]})
    text = csv_text(table)
    assert text == "text,number\n'-1,-1.5\nx,2.0\n"
    read = pd.read_csv(io.StringIO(text), dtype={"text": "str", "number": "float64"})
    pd.testing.assert_frame_equal(restored(read), table)


def _cells(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return [cell for row in csv.reader(file) for cell in row]


def _images() -> pd.DataFrame:
    row = {
        "predefined_split": "", "width": 32, "height": 32, "format": "png", "bytes": 1,
        "shard": 0, "offset": 0, "split": "train",
    }  # fmt: skip
    names = sorted(f"{text}/{text}.png" for text in BAD[:4])
    rows = [
        {**row, "image_id": f"{i:064x}", "path": name, "label": name[:-4], "group": name[0]}
        for i, name in enumerate(names)
    ]
    return frame(rows, SPLIT)


def _manifest(path: Path) -> None:
    write_split(path, _images())
    pd.testing.assert_frame_equal(read_split(path), _images())


def _rejected(path: Path) -> None:
    rows = [{"path": name, "reason": "corrupt", "detail": name} for name in sorted(BAD[:4])]
    write_rejected(path, frame(rows, REJECTED))
    pd.testing.assert_frame_equal(read_rejected(path), frame(rows, REJECTED))


def _predictions(path: Path) -> None:
    images = _images()
    classes = sorted(images["label"])
    both = np.eye(4)
    made = Predictions.record(images, classes, both, both)
    write_predictions(path, made)
    pd.testing.assert_frame_equal(read_predictions(path, classes).rows, made.rows)


def _index(path: Path) -> None:
    folder = ThumbnailFolder(path.parent)
    for name in BAD[:4]:
        folder.add(name, "corrupt", b"")
    folder.close()
    (path.parent / INDEX).rename(path)


def _answers(path: Path) -> None:
    # An input's name has no control characters.
    inputs = [Input(name, name) for name in BAD if name.isprintable()]
    classes = BAD[:3]
    head, line = writer("csv", inputs, classes, 3, synsets=False)
    found = answer(np.array([0.5, 0.3, 0.2], np.float32), classes, 3)
    path.write_text("\n".join([head, *(line(one, found) for one in inputs)]), newline="")
    last = _cells(path)[-7:]
    assert [original(last[place]) for place in (0, 1, 3, 5)] == [BAD[-1], *classes]


def _features(path: Path) -> None:
    with feature_file(path.with_suffix(".npy"), (2,)) as add:
        for name in filter(str.isprintable, BAD):
            add(name, np.zeros(2, np.float32))


@pytest.mark.parametrize("write", [_manifest, _rejected, _predictions, _index, _answers, _features])
def test_no_table_holds_a_formula(write: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write(path)
    cells = _cells(path)
    assert any(cell.startswith("'=HYPERLINK") for cell in cells)
    assert not [cell for cell in cells if re.match("[=+\\-@\t\r\n]", cell)]


def test_tables_with_text_are_written_in_one_place() -> None:
    writers = {
        str(path.relative_to(ROOT))
        for folder in ("headstart", "stages", "flows")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"\.to_csv\(|csv\.(writer|DictWriter)\(", path.read_text(encoding="utf-8"))
    }
    assert writers == {
        "headstart/_utils/csv_text.py",
        "headstart/evaluation/sizes.py",  # numbers
        "headstart/serving/results.py",  # row by row, by `neutral`
        "headstart/training/history.py",  # numbers
    }
