"""`headstart gate`: decide whether a scheduled run may export the model in `data`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from headstart.cli.front import PARAMS, command

if TYPE_CHECKING:
    from headstart.cli.scored_runs import ScoredRun
    from headstart.evaluation.gate import Check
    from headstart.evaluation.parameters import GateParams

HELD = 5


@command(
    says="Check the scores in `data` against the gate's thresholds. They are the section `gate` "
    "of params.yaml, and may include the last released model. `headstart run` checks them before "
    "it exports. Exit code: 0 passed, 5 held.",
    epilog="Example: set gate.min_accuracy to 0.95 in params.yaml, then `headstart gate`.",
    needs="project",
)
def gate() -> None:
    """Print every check and the decision."""
    from headstart._utils.tables import columns
    from headstart.evaluation.gate import check_scores, is_open
    from headstart.stage.parameters import read_params

    bounds = read_params(PARAMS).gate
    if is_open(bounds):
        typer.echo("Passed: the section `gate` of params.yaml requires nothing.")
        return

    from headstart.cli.scored_runs import WORKSPACE, scored_run
    from headstart.pipeline.storage import Storage

    root = Path.cwd()
    storage = Storage(root)
    here = scored_run(root, WORKSPACE, storage)
    checks = check_scores(here.metrics["model"], bounds)
    if bounds.not_worse_than_release:
        check, sentence = _against_release(root, here, bounds, storage)
        checks.append(check)
        typer.echo(sentence)
    rows = [(one.name, one.value, one.bound, "passed" if one.passed else "HELD") for one in checks]
    typer.echo(columns([("", "is", "must be", ""), *rows], "lrrl"))
    held = [check.name for check in checks if not check.passed]
    if held:
        typer.echo(f"Held: {', '.join(held)}. `headstart run` does not export this model.")
        raise typer.Exit(HELD)
    typer.echo("Passed.")


def _against_release(
    root: Path, here: ScoredRun, bounds: GateParams, storage: Any
) -> tuple[Check, str]:
    """Return the paired test against the last release, and a sentence about it.

    A model that cannot be tested does not pass.
    """
    from headstart.cli.scored_runs import paired_sentence, scored_run, together
    from headstart.evaluation.gate import Check
    from headstart.pipeline.git import Repository

    name = "not worse than the last release"
    tag = Repository(root).nearest_tag(bounds.release_tags)
    if tag is None:
        return (
            Check(name, "no release", "", passed=True),
            f"There is no release yet: no tag {bounds.release_tags!r} at or before this commit.",
        )
    released = scored_run(root, tag, storage)
    found = together(released, here)
    if found is None or not found.shared:
        sentence = paired_sentence(released, here, found)
        return Check(name, "untested", f"tested against {tag}", passed=False), sentence
    p = found.test.p_worse
    chance = f"with equally good models, the probability of as many losses or more is {p:.3g}"
    bound = f"p ≥ {bounds.significance:g} against {tag}"
    check = Check(name, f"p = {p:.4f}", bound, passed=p >= bounds.significance)
    return check, paired_sentence(released, here, found, chance)
