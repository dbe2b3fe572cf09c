"""Answers about ImageNet's classes as lines of text: those of ``predict``, with WordNet's numbers.

JSON lines and CSV hold the names as Keras spells them (``tiger_cat``), and beside each the number,
because two names are of two classes each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from headstart._utils.tables import plain
from headstart.serving.answers import Answer, Guess
from headstart.serving.inputs import Input
from headstart.serving.rows import WIDEST, Format, Write, csv_row, percent


def writer(
    form: Format, inputs: Sequence[Input], names: Mapping[str, str], top: int
) -> tuple[str, Write]:
    """The line that comes first ("" for none), and what makes the lines of an answer.

    Parameters
    ----------
    form : "table" | "jsonl" | "csv"
    inputs : sequence of Input
        All of them, so that a table's columns are as wide as they need to be.
    names : mapping of str to str
        From the labels of answers, WordNet's numbers, to names.
    top : int
        Guesses of an answer.
    """
    if form == "jsonl":
        return "", lambda one, said: _json(one, said, names)
    if form == "csv":
        return csv_row(_columns(min(top, len(names)))), lambda one, said: _csv(one, said, names)
    return _table(inputs, names)


def spoken(name: str) -> str:
    """A name for people: ``tiger cat``."""
    return name.replace("_", " ")


def _json(one: Input, said: Answer, names: Mapping[str, str]) -> str:
    def told(guess: Guess) -> dict[str, Any]:
        return {
            "label": names[guess.label],
            "probability": guess.probability,
            "synset": guess.label,
        }

    first, *_ = guesses = [told(guess) for guess in said.guesses]
    return json.dumps({"file": one.name, **first, "top": guesses}, ensure_ascii=False)


def _columns(top: int) -> list[str]:
    more = [
        f"{name}_{rank}"
        for rank in range(2, top + 1)
        for name in ("label", "probability", "synset")
    ]
    return ["file", "label", "probability", "synset", *more]


def _csv(one: Input, said: Answer, names: Mapping[str, str]) -> str:
    cells = [one.name]
    for guess in said.guesses:
        cells += [names[guess.label], repr(guess.probability), guess.label]
    return csv_row(cells)


def _table(inputs: Sequence[Input], names: Mapping[str, str]) -> tuple[str, Write]:
    longest = max((len(plain(one.name)) for one in inputs), default=0)
    file_width = max(min(longest, WIDEST), len("file"))
    class_width = max(len(name) for name in (*names.values(), "class"))

    def line(file: str, label: str, probability: str) -> str:
        return f"{file:<{file_width}}  {label:<{class_width}}  {probability:>11}"

    def write(one: Input, said: Answer) -> str:
        # A line a guess: five in one line would be wider than any terminal.
        files = [plain(one.name), *[""] * (len(said.guesses) - 1)]
        return "\n".join(
            line(file, spoken(names[guess.label]), percent(guess.probability))
            for file, guess in zip(files, said.guesses, strict=True)
        )

    return line("file", "class", "probability"), write
