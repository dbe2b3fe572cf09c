"""A comparison of backbones for people and programs: lines, values, CSV, and a chart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from headstart._utils.csv_text import csv_text
from headstart._utils.files import atomic_folder, write_json, write_text
from headstart._utils.tables import columns, counted
from headstart.evaluation.comparison import p_text
from headstart.evaluation.metrics import percent
from headstart.report import drawing
from headstart.selection.choice import Choice, Measured, Score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FILES = ("backbones.csv", "backbones.json", "accuracy-light.png", "accuracy-dark.png")


def values(choice: Choice, tested: Sequence[Measured]) -> dict[str, Any]:
    """Return the comparison for programs.

    Parameters
    ----------
    choice : Choice
    tested : sequence of Measured
        Those whose test scores are to be shown.
    """
    chosen = choice.chosen
    return {
        "backbones": [_row(choice, one) for one in choice.measured],
        "budget": {"ms": choice.budget.milliseconds, "mb": choice.budget.megabytes},
        "chosen": None if chosen is None else chosen.candidate.label,
        "test": [
            {
                "backbone": one.candidate.label,
                "passes": one.passes.done,
                "linear": one.test.linear.values(),
                "nearest": one.test.nearest.values(),
            }
            for one in tested
            if one.test is not None
        ],
    }


def _row(choice: Choice, one: Measured) -> dict[str, Any]:
    test = choice.against_best(one)
    return {
        "backbone": one.candidate.label,
        "parameters": one.candidate.params.model_dump(),
        "chosen": one is choice.chosen,
        "within_budget": choice.budget.allows(one),
        "validation": {
            "linear": one.validation.linear.values(),
            "nearest": one.validation.nearest.values(),
        },
        "p_against_best": None if test is None else test.p,
        "ms": one.milliseconds,
        "mb": one.megabytes,
        "weights": one.record.parameters,
        "features": int(one.record.feature_shape[-1]),
        "license": one.candidate.license,
        "passes": one.passes.done,
        "cached": one.passes.cached,
        "extraction_seconds": round(one.passes.seconds, 3),
    }


def table(choice: Choice) -> str:
    """Return a row per backbone, for a terminal."""
    head = ("backbone", "linear probe", "95 % interval", "neighbors", "p", "ms", "MB",
            "parameters", "license of the weights", "")  # fmt: skip
    rows = [head, *(_line(choice, one) for one in choice.measured)]
    return columns(rows, "lrrrrrrrll")


def _line(choice: Choice, one: Measured) -> tuple[str, ...]:
    linear, test = one.validation.linear, choice.against_best(one)
    note = "chosen" if one is choice.chosen else ""
    if not choice.budget.allows(one):
        note = "over budget"
    return (
        one.candidate.label,
        percent(linear.accuracy),
        _interval(linear),
        percent(one.validation.nearest.accuracy),
        "best" if test is None else p_text(test.p),
        f"{one.milliseconds:.2f}",
        f"{one.megabytes:.1f}",
        f"{one.record.parameters:,}",
        one.candidate.license,
        note,
    )


def sentences(choice: Choice) -> list[str]:
    """Return the explanation of the table, and the choice."""
    count = choice.best.validation.linear.images
    legend = (
        f"Accuracy on the {counted(count, 'validation image')}. p: McNemar's exact test against "
        "the best. ms: a forward pass on one thread here, without decoding. MB: the network's file."
    )
    lines = [legend]
    if choice.chosen is not None:
        budget = f" within {choice.budget}" if str(choice.budget) else ""
        lines.append(
            f"Chosen: {choice.chosen.candidate.label}, the highest accuracy of the linear "
            f"probe{budget}."
        )
        frugal = choice.frugal()
        if frugal is not None:
            times = choice.chosen.milliseconds / frugal.milliseconds
            lines.append(
                f"{frugal.candidate.label} is {times:.1f} times as fast, and these images are too "
                "few to tell whether it is less accurate."
            )
    return lines


def test_sentence(one: Measured) -> str:
    """Return the test scores of a backbone."""
    if one.test is None:
        raise ValueError(f"{one.candidate.label} was not tested")
    linear, near = one.test.linear, one.test.nearest
    return (
        f"Test score of {one.candidate.label} on {counted(linear.images, 'image')}: linear probe "
        f"{percent(linear.accuracy)} ({_interval(linear)}), neighbors {percent(near.accuracy)} "
        f"({_interval(near)})."
    )


def _interval(score: Score) -> str:
    low, high = score.interval
    return f"{percent(low)} to {percent(high)}"


def write(folder: Path, choice: Choice, tested: Sequence[Measured]) -> None:
    """Write the comparison as CSV and JSON with a chart, in the light and the dark colors.

    Parameters
    ----------
    folder : Path
        Replaced completely; see :func:`is_ours`.
    choice : Choice
    tested : sequence of Measured
        As in :func:`values`.
    """
    found = values(choice, tested)
    with atomic_folder(folder) as beside:
        write_json(beside / "backbones.json", found)
        flat = pd.json_normalize([_flat(row) for row in found["backbones"]])
        write_text(beside / "backbones.csv", csv_text(flat.astype(object).where(flat.notna(), "")))
        drawing.write(beside, "accuracy", chart(choice), _chart_size(choice))


def is_ours(folder: Path) -> bool:
    """Return whether a folder may be replaced: it is new or empty, or :func:`write` wrote it."""
    if not folder.exists():
        return True
    return folder.is_dir() and {path.name for path in folder.iterdir()} <= set(_FILES)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without the parameters that hold for all of it, and without levels."""
    left_out = {"parameters", "validation"}
    scores = {
        f"{probe}_{key}": value
        for probe, score in row["validation"].items()
        for key, value in score.items()
    }
    return {**{key: value for key, value in row.items() if key not in left_out}, **scores}


def chart(choice: Choice) -> drawing.Draw:
    """Return validation accuracy over milliseconds, with intervals, numbers and their names."""

    def draw(figure: Figure, inks: drawing.Inks) -> None:
        axes = drawing.dressed_axes(
            figure, inks, "accuracy on validation", "ms per forward pass, one thread"
        )
        for number, one in enumerate(choice.measured, 1):
            ms, linear = one.milliseconds, one.validation.linear
            color = inks.second if one is choice.chosen else inks.first
            chosen = " (chosen)" if one is choice.chosen else ""
            name = f"{number}  {one.candidate.label}{chosen}"
            axes.vlines(ms, *linear.interval, color=color, linewidth=1, alpha=0.6)
            axes.plot(ms, linear.accuracy, "o", color=color, markersize=4, label=name)
            axes.annotate(
                f"{number}", (ms, linear.accuracy), (4, 2), textcoords="offset points", color=color
            )
        if choice.budget.milliseconds is not None:
            axes.axvline(choice.budget.milliseconds, color=inks.text, linewidth=0.8, linestyle=":")
        axes.set_xscale("log")
        drawing.in_percent(axes.yaxis)
        drawing.plain_numbers(axes.xaxis)
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.2), handlelength=0.6, handletextpad=0.3)

    return draw


def _chart_size(choice: Choice) -> tuple[float, float]:
    """Return the size in inches: wide, with a line for each name."""
    width, height = drawing.WIDE
    return width, height + 0.2 * len(choice.measured)
