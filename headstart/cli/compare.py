"""`headstart compare`: scores and parameters of runs side by side, and whether one is better."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.cli.front import command

if TYPE_CHECKING:
    from headstart.cli.predictions import Side
    from headstart.evaluation.comparison import Paired

_USUAL = 0.05  # below it, a difference is told as one


@command(
    says="Show the scores of commits side by side, the parameters in which they differ, and "
    "McNemar's test of each against the first, on the images that both were tested on. "
    "`workspace` is what lies in the folder; a single commit is compared with it.",
    epilog="Examples: headstart compare HEAD~1 HEAD | headstart compare v1.0 workspace --json",
)
def compare(
    revs: Annotated[list[str], typer.Argument(help="Commits, tags, branches; or workspace.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> None:
    """Print the tables and a sentence for each pair."""
    import json

    from headstart.cli.predictions import WORKSPACE, side
    from headstart.pipeline.storage import Storage

    root = Path.cwd()
    storage = Storage(root)
    names = list(revs) if len(revs) > 1 else [*revs, WORKSPACE]
    sides = [side(root, name, storage) for name in names]
    pairs = [(sides[0], other, together(sides[0], other)) for other in sides[1:]]
    if as_json:
        typer.echo(json.dumps(_values(sides, pairs), indent=2, ensure_ascii=False))
        return
    typer.echo(_tables(sides))
    for first, second, found in pairs:
        typer.echo(f"\n{sentence(first, second, found)}")


def together(first: Side, second: Side) -> Paired | None:
    """The predictions of two runs over one another; None: those of one are nowhere."""
    from headstart.evaluation.comparison import paired

    if first.predictions is None or second.predictions is None:
        return None
    return paired(first.predictions, second.predictions)


def sentence(first: Side, second: Side, found: Paired | None, meaning: str = "") -> str:
    """What the predictions say of the two, in words; ``meaning``: of the counts, "": the test's."""
    if found is None:
        why = "; ".join(side.why for side in (first, second) if side.predictions is None)
        return f"{first.name} and {second.name} cannot be compared image by image: {why}."
    if not found.shared:
        return (
            f"{first.name} and {second.name} were tested on different images "
            f"({found.first:,} and {found.second:,}, none in common), so their scores cannot be "
            "compared."
        )
    left_out = found.first + found.second - 2 * found.shared
    counted = f"On the {found.shared:,} images that both were tested on"
    if left_out:
        counted += f" ({left_out:,} are in one of the test sets alone)"
    who = (
        f"{first.name} alone is right about {found.first_only:,}, {second.name} alone about "
        f"{found.second_only:,}"
    )
    if not meaning:
        from headstart.evaluation.comparison import p_text

        p = p_text(found.test.p)
        meaning = f"{_meaning(first, second, found)} (McNemar's exact test, p = {p})"
    return f"{counted}, {who}: {meaning}."


def _meaning(first: Side, second: Side, found: Paired) -> str:
    if found.first_only == found.second_only:
        return "neither is better"
    if found.test.p >= _USUAL:
        return "the difference may well be chance"
    better = first if found.first_only > found.second_only else second
    return f"{better.name} is better"


def _values(sides: Sequence[Side], pairs: Sequence[tuple[Side, Side, Paired | None]]) -> Any:
    return {
        "revisions": [
            {"name": side.name, "metrics": side.metrics, "parameters": side.parameters}
            for side in sides
        ],
        "pairs": [
            {
                "first": first.name,
                "second": second.name,
                "says": sentence(first, second, found),
                "paired": None if found is None else {**asdict(found), "shared": found.shared},
            }
            for first, second, found in pairs
        ],
    }


def _tables(sides: Sequence[Side]) -> str:
    from headstart._utils.tables import columns, leaves
    from headstart.evaluation.metrics import listed

    names = [side.name for side in sides]
    # Lists of metrics have an entry a class, and are no scores.
    metrics = [
        {name: value for name, value in leaves(side.metrics).items() if not isinstance(value, list)}
        for side in sides
    ]
    parameters = [leaves(side.parameters) for side in sides]
    # These rows are always shown; of the rest, those that differ.
    always = [*(f"model.{metric.key}" for metric in listed("compare")), "test_images"]
    rows = [("", *names), *differing(metrics, always)]
    text = columns(rows, "l" + "r" * len(sides))
    changed = differing(parameters)
    if not changed:
        return f"{text}\n\nThe parameters are the same."
    rows = [("parameters that differ", *names), *changed]
    return f"{text}\n\n{columns(rows, 'l' + 'r' * len(sides))}"


def differing(
    found: Sequence[Mapping[str, Any]], always: Iterable[str] = ()
) -> list[tuple[str, ...]]:
    """A row for each name that not all have alike, after those that are always shown."""
    asked = list(always)
    names = dict.fromkeys([*asked, *(name for values in found for name in values)])
    rows = []
    for name in names:
        shown = [_shown(values[name]) if name in values else "–" for values in found]
        if name in asked or len(set(shown)) > 1:
            rows.append((name, *shown))
    return rows


def _shown(value: Any) -> str:
    from headstart._utils.tables import spelled

    return f"{value:.4g}" if isinstance(value, float) else spelled(value)
