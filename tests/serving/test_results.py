from __future__ import annotations

import csv
import io
import json

import pytest

from headstart.serving.inputs import Input
from headstart.serving.results import Answer, Format, Guess, writer

CLASSES = ("ant", "bee", 'c"at,\n')
ODD = Input('x, "y".png', 'x, "y".png')
SURE = Answer((Guess('c"at,\n', 0.75), Guess("ant", 0.25)), sure=True)
UNSURE = Answer((Guess("bee", 0.5), Guess("ant", 0.25)), sure=False)


def lines(form: Format, top: int = 2) -> list[str]:
    head, write = writer(form, [ODD], CLASSES, top, synsets=False)
    return [head, write(ODD, SURE), write(ODD, UNSURE)]


def test_csv_reads_back() -> None:
    rows = list(csv.reader(io.StringIO("\n".join(lines("csv")), newline="")))
    assert rows == [
        ["file", "label", "probability", "label_2", "probability_2"],
        ['x, "y".png', 'c"at,\n', "0.75", "ant", "0.25"],
        ['x, "y".png', "", "0.5", "ant", "0.25"],
    ]


def test_json_lines_are_one_line_each() -> None:
    head, sure, unsure = lines("jsonl")
    assert head == ""
    assert "\n" not in sure
    assert json.loads(sure) == {
        "file": 'x, "y".png',
        "label": 'c"at,\n',
        "probability": 0.75,
        "top": [{"label": 'c"at,\n', "probability": 0.75}, {"label": "ant", "probability": 0.25}],
    }
    assert json.loads(unsure)["label"] is None


def test_a_table_has_columns_and_no_line_breaks_of_strangers() -> None:
    head, sure, unsure = lines("table")
    assert head.split() == ["file", "class", "probability", "then"]
    assert 'c"at,\\n' in sure
    assert "75.0 %  ant 25.0 %" in sure
    assert "unsure" in unsure
    assert "bee 50.0 %  ant 25.0 %" in unsure
    assert len({line.index(" %") for line in (sure, unsure)}) == 1


@pytest.mark.parametrize("form", ["csv", "table"])
def test_more_classes_than_there_are_make_no_columns(form: Format) -> None:
    assert lines(form, top=99)[0] == lines(form, top=3)[0]
