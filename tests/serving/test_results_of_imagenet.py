from __future__ import annotations

import csv
import json

from headstart.serving.inputs import Input
from headstart.serving.results import Answer, Format, Guess, writer

NAMES = ("crane", "crane", "tiger_cat")
ODD = Input("x,\n.png", "x,\n.png")
SAID = Answer((Guess("crane", 0.5, "n03126707"), Guess("crane", 0.25, "n02012849")), sure=True)


def told(form: Format, top: int = 2) -> list[str]:
    head, write = writer(form, [ODD], NAMES, top, synsets=True)
    return [head, write(ODD, SAID)]


def test_two_classes_with_one_name_are_distinguished() -> None:
    head, line = told("jsonl")
    assert head == ""
    assert "\n" not in line
    assert json.loads(line) == {
        "file": "x,\n.png",
        "label": "crane",
        "probability": 0.5,
        "synset": "n03126707",
        "top": [
            {"label": "crane", "probability": 0.5, "synset": "n03126707"},
            {"label": "crane", "probability": 0.25, "synset": "n02012849"},
        ],
    }


def test_csv_reads_back() -> None:
    rows = list(csv.reader("\n".join(told("csv")).splitlines(keepends=True)))
    assert rows == [
        ["file", "label", "probability", "synset", "label_2", "probability_2", "synset_2"],
        ["x,\n.png", "crane", "0.5", "n03126707", "crane", "0.25", "n02012849"],
    ]


def test_more_classes_than_there_are_make_no_columns() -> None:
    assert told("csv", top=99)[0] == told("csv", top=3)[0]


def test_a_table_has_a_line_for_each_guess_and_obeys_no_name() -> None:
    head, lines = told("table")
    first, second = lines.splitlines()
    assert head.split() == ["file", "class", "probability"]
    assert first.split() == ["x,\\n.png", "crane", "50.0", "%"]
    assert second.split() == ["crane", "25.0", "%"]
    assert len({len(line) for line in (head, first, second)}) == 1
    cat = writer("table", [ODD], NAMES, 1, synsets=True)[1](
        ODD, Answer((Guess("tiger_cat", 1.0, "n02123159"),), sure=True)
    )
    assert "tiger cat" in cat
