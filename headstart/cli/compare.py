"""`headstart compare`: compare the scores, parameters and predictions of runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.cli.front import command

if TYPE_CHECKING:
    from headstart.cli.scored_runs import ScoredRun
    from headstart.evaluation.comparison import Paired


@command(
    says="Compare the scores and parameters of commits. Shows them side by side, with McNemar's "
    "test of each commit against the first, on the images that both were tested on. `workspace` "
    "is the state of the folder, which a single commit is compared with.",
    epilog="Examples: headstart compare HEAD~1 HEAD | headstart compare v1.0 workspace --json",
    needs="commits",
)
def compare(
    revs: Annotated[list[str], typer.Argument(help="Commits, tags, branches, or workspace.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> None:
    """Print the tables and a sentence per pair."""
    import json

    from headstart.cli.scored_runs import WORKSPACE, paired_sentence, scored_run, together
    from headstart.pipeline.storage import Storage

    root = Path.cwd()
    storage = Storage(root)
    names = list(revs) if len(revs) > 1 else [*revs, WORKSPACE]
    runs = [scored_run(root, name, storage) for name in names]
    pairs = [(runs[0], other, together(runs[0], other)) for other in runs[1:]]
    if as_json:
        typer.echo(json.dumps(_values(runs, pairs), indent=2, ensure_ascii=False))
        return
    typer.echo(_tables(runs))
    for first, second, found in pairs:
        typer.echo(f"\n{paired_sentence(first, second, found)}")


def _values(
    runs: Sequence[ScoredRun], pairs: Sequence[tuple[ScoredRun, ScoredRun, Paired | None]]
) -> Any:
    from headstart.cli.scored_runs import paired_sentence

    return {
        "revisions": [
            {"name": run.name, "metrics": run.metrics, "parameters": run.parameters} for run in runs
        ],
        "pairs": [
            {
                "first": first.name,
                "second": second.name,
                "summary": paired_sentence(first, second, found),
                "paired": None if found is None else {**asdict(found), "shared": found.shared},
            }
            for first, second, found in pairs
        ],
    }


def _tables(runs: Sequence[ScoredRun]) -> str:
    from headstart._utils.tables import columns, leaves
    from headstart.evaluation.metrics import listed

    names = [run.name for run in runs]
    # Lists have one entry per class, and are not scores.
    metrics = [
        {name: value for name, value in leaves(run.metrics).items() if not isinstance(value, list)}
        for run in runs
    ]
    parameters = [leaves(run.parameters) for run in runs]
    # These rows are always shown, and others if they differ.
    always = [*(f"model.{metric.key}" for metric in listed("compare")), "test_images"]
    rows = [("", *names), *differing(metrics, always)]
    text = columns(rows, "l" + "r" * len(runs))
    changed = differing(parameters)
    if not changed:
        return f"{text}\n\nThe parameters are the same."
    rows = [("parameters that differ", *names), *changed]
    return f"{text}\n\n{columns(rows, 'l' + 'r' * len(runs))}"


def differing(
    found: Sequence[Mapping[str, Any]], always: Iterable[str] = ()
) -> list[tuple[str, ...]]:
    """Return a row for each value that differs, after those that are always shown."""
    fixed = list(always)
    names = dict.fromkeys([*fixed, *(name for values in found for name in values)])
    rows = []
    for name in names:
        shown = [_shown(values[name]) if name in values else "–" for values in found]
        if name in fixed or len(set(shown)) > 1:
            rows.append((name, *shown))
    return rows


def _shown(value: Any) -> str:
    from headstart._utils.tables import spelled

    return f"{value:.4g}" if isinstance(value, float) else spelled(value)
