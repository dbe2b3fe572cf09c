"""`headstart compare`: compare the scores, parameters and predictions of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart._utils.tables import columns, leaves, spelled
from headstart.cli.front import command

if TYPE_CHECKING:
    from headstart.cli.scored_runs import Pair, ScoredRun


@command(
    epilog="Examples: headstart compare HEAD~1 HEAD | headstart compare v1.0 workspace --json",
    needs="commits",
)
def compare(
    revs: Annotated[list[str], typer.Argument(help="Commits, tags, branches, or workspace.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> None:
    """Compare the scores and parameters of commits.

    The tables are followed by McNemar's test of each commit against the first, on the images that
    both were tested on. Where labels were corrected between the two, both are judged by those of
    the later name. A single commit is compared with `workspace`, the state of the folder.
    """
    import json

    from headstart.cli.scored_runs import WORKSPACE, Pair, scored_run
    from headstart.pipeline.storage import Storage

    root = Path.cwd()
    storage = Storage(root)
    names = revs if len(revs) > 1 else [*revs, WORKSPACE]
    runs = [scored_run(root, name, storage) for name in names]
    pairs = [Pair(runs[0], other) for other in runs[1:]]
    if as_json:
        answer = {
            "revisions": [
                {
                    "name": run.name,
                    "metrics": run.metrics,
                    "parameters": run.parameters,
                    "corrections": run.corrections,
                }
                for run in runs
            ],
            "pairs": [_values(pair) for pair in pairs],
        }
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
        return
    typer.echo(_tables(runs))
    for pair in pairs:
        typer.echo(f"\n{pair.sentence()}")


def _values(pair: Pair) -> dict[str, Any]:
    found = pair.found
    return {
        "first": pair.first.name,
        "second": pair.second.name,
        "summary": pair.sentence(),
        "paired": None if found is None else {**asdict(found), "shared": found.shared},
    }


def _tables(runs: Sequence[ScoredRun]) -> str:
    from headstart.evaluation.metrics import listed

    names, align = [run.name for run in runs], "l" + "r" * len(runs)
    # Lists have one entry per class, and are not scores.
    metrics = [
        {name: value for name, value in leaves(run.metrics).items() if not isinstance(value, list)}
        for run in runs
    ]
    # These rows are always shown, and others if they differ.
    always = [*(f"model.{metric.key}" for metric in listed("compare")), "test_images"]
    parts = [columns([("", *names), *_differing(metrics, always)], align)]
    corrected = [leaves(run.corrections) for run in runs]
    every = dict.fromkeys((name for counts in corrected for name in counts), 0)
    if rows := _differing([{**every, **counts} for counts in corrected]):
        parts.append(columns([("corrections", *names), *rows], align))
    changed = _differing([leaves(run.parameters) for run in runs])
    if changed:
        parts.append(columns([("parameters that differ", *names), *changed], align))
    else:
        parts.append("The parameters are the same.")
    return "\n\n".join(parts)


def _differing(
    found: Sequence[Mapping[str, Any]], always: Sequence[str] = ()
) -> list[tuple[str, ...]]:
    """Return a row for each value that differs, after those that are always shown."""
    rows = []
    for name in dict.fromkeys([*always, *(name for values in found for name in values)]):
        shown = []
        for values in found:
            value = values.get(name, "–")
            shown.append(f"{value:.4g}" if isinstance(value, float) else spelled(value))
        if name in always or len(set(shown)) > 1:
            rows.append((name, *shown))
    return rows
