"""Answers as lines of text: a table for people, JSON lines and CSV for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import Literal

from headstart._utils.tables import plain
from headstart.serving.answers import Answer
from headstart.serving.inputs import Input

Format = Literal["table", "jsonl", "csv"]
Write = Callable[[Input, Answer], str]

#: What a table says instead of a class that does not reach the threshold.
UNSURE = "unsure"
#: Letters of the widest column of files; longer names push the others aside.
WIDEST = 60


def writer(
    form: Format, inputs: Sequence[Input], classes: Sequence[str], top: int
) -> tuple[str, Write]:
    """The line that comes first ("" for none), and what makes a line of an answer.

    Lines come without their end. All inputs are known beforehand, so that a table's columns are
    as wide as they need to be although its lines are written as they come.
    """
    top = min(top, len(classes))
    if form == "jsonl":
        return "", _json
    if form == "csv":
        return csv_row(_columns(top)), _csv
    return _table(inputs, classes, top)


def _columns(top: int) -> list[str]:
    more = [f"{name}_{rank}" for rank in range(2, top + 1) for name in ("label", "probability")]
    return ["file", "label", "probability", *more]


def _json(one: Input, said: Answer) -> str:
    return json.dumps(
        {
            "file": one.name,
            "label": said.label,
            "probability": said.probability,
            "top": [
                {"label": guess.label, "probability": guess.probability} for guess in said.guesses
            ],
        },
        ensure_ascii=False,
    )


def _csv(one: Input, said: Answer) -> str:
    cells = [one.name, said.label or "", repr(said.probability)]
    for guess in said.guesses[1:]:
        cells += [guess.label, repr(guess.probability)]
    return csv_row(cells)


def csv_row(cells: Sequence[str]) -> str:
    """Cells as a line of CSV, without its end."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()


def _table(inputs: Sequence[Input], classes: Sequence[str], top: int) -> tuple[str, Write]:
    names = max((len(plain(one.name)) for one in inputs), default=0)
    widths = (
        max(min(names, WIDEST), len("file")),
        max(len(name) for name in (*map(plain, classes), UNSURE, "class")),
        len("probability"),
    )

    def line(cells: Sequence[str]) -> str:
        file, label, probability, *more = cells
        shown = f"{file:<{widths[0]}}  {label:<{widths[1]}}  {probability:>{widths[2]}}"
        return "  ".join([shown, *more]).rstrip()

    def write(one: Input, said: Answer) -> str:
        label = UNSURE if said.label is None else plain(said.label)
        # Of an unsure image the likeliest class is told as well.
        others = said.guesses[1:] if said.sure else said.guesses
        more = [f"{plain(guess.label)} {percent(guess.probability)}" for guess in others]
        return line([plain(one.name), label, percent(said.probability), *more])

    return line(["file", "class", "probability", *(["then"] if top > 1 else [])]), write


def percent(probability: float) -> str:
    """A probability for people."""
    return f"{100 * probability:.1f} %"
