"""How numbers, scores and comparisons are written."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tools.claims.runs import RUNS

#: Fewer images than this do not carry a fourth digit.
_FOUR_DIGITS = 400


def decimal(value: float, digits: int) -> str:
    """A share without its leading zero: ``.924``."""
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def accuracy(score: Mapping[str, Any], n: int) -> str:
    """``.924``, with a fourth digit from 400 images on."""
    return decimal(score["accuracy"], 4 if n >= _FOUR_DIGITS else 3)


def interval(score: Mapping[str, Any]) -> str:
    """The 95 % interval of an accuracy."""
    return f"{decimal(score['accuracy_low'], 3)} to {decimal(score['accuracy_high'], 3)}"


def share(score: Mapping[str, Any], n: int) -> str:
    """``183 of 198 right, .924 (.879 to .954)``."""
    return f"{score['right']:,} of {n:,} right, {accuracy(score, n)} ({interval(score)})"


def brief(pair: Mapping[str, Any]) -> str:
    """A difference of two accuracies with its interval and its p."""
    p = decimal(pair["p"], 3) if pair["p"] >= 0.001 else f"{pair['p']:.1e}"
    low, high = signed(pair["low"]), signed(pair["high"])
    return f"{signed(pair['difference'])} ({low} to {high}), p = {p}"


def difference(pair: Mapping[str, Any]) -> str:
    """The same with the counts that it rests on."""
    test = "McNemar's exact test" if pair["exact"] else "McNemar's test"
    return (
        f"{brief(pair)} ({test}): of {pair['shared']:,} images the first alone is right about "
        f"{pair['first_only']}, the second alone about {pair['second_only']}"
    )


def signed(value: float) -> str:
    """With its sign and four digits; a zero has none."""
    near = round(value, 4) or 0.0  # no -.0000
    return f"{'+' if near > 0 else ''}{decimal(near, 4)}"


def numbers(found: Mapping[str, Any]) -> str:
    """What ``tools.claims.counts`` found of an item."""
    parts = []
    if "trainable" in found:
        parts.append(f"{found['trainable']:,} of {found['parameters']:,} numbers learn")
    elif "parameters" in found:
        parts.append(f"{found['parameters']:,} numbers")
    if "output" in found:
        parts.append(f"output {tuple(found['output'])}")
    if "steps" in found:
        parts.append(" and ".join(f"{count:,}" for count in found["steps"]) + " steps")
    if "binary_accuracy" in found:
        parts.append(decimal(found["binary_accuracy"], 4))
    return ", ".join(parts)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], align: str = "") -> list[str]:
    """Lines of a Markdown table; ``align``: a letter a column, l or r."""
    rules = ["--:" if side == "r" else "---" for side in align or "l" * len(head)]
    lines = [head, rules, *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def wrapped(words: str, bullet: str = "") -> list[str]:
    """A paragraph in lines of at most 100 characters, where no single word is longer."""
    return textwrap.wrap(
        " ".join(words.split()), 100, initial_indent=bullet, subsequent_indent=" " * len(bullet),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def ordered(groups: Iterable[str]) -> list[str]:
    """Names of groups in the order in which they are measured."""
    order = list(RUNS)
    return sorted(groups, key=lambda name: order.index(name) if name in order else -1)
