"""`headstart gate`: decide whether a scheduled run may export the model in `data`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from headstart._utils.errors import HeadstartError
from headstart._utils.tables import columns
from headstart.cli.front import command, read_parameters

if TYPE_CHECKING:
    from headstart.cli.scored_runs import ScoredRun
    from headstart.evaluation.gate import Check
    from headstart.evaluation.parameters import GateParams
    from headstart.pipeline.storage import Storage

HELD = 5


@command(
    epilog="Example: set gate.min_accuracy to 0.95 in params.yaml, then `headstart gate`.",
    needs="project",
)
def gate() -> None:
    """Check the scores in `data` against the gate's thresholds.

    The thresholds are in the section `gate` of params.yaml, which can also require a model that is
    not worse than the last release. `headstart run` checks them before it exports. Exit code:
    0 passed, 5 held, 1 if there is nothing to check.
    """
    from headstart.evaluation.gate import check_scores, is_open
    from headstart.pipeline.presence import has_run

    bounds = read_parameters().gate
    if not has_run(Path.cwd()):
        raise HeadstartError(
            "The pipeline has not run in this folder, so there is no model to check: the scores in "
            "data/metrics came with the commit. Nothing passed. Run the pipeline: `dvc repro`."
        )
    if is_open(bounds):
        typer.echo("Passed: the section `gate` of params.yaml sets no threshold.")
        return

    from headstart.cli.scored_runs import WORKSPACE, scored_run
    from headstart.pipeline.storage import Storage

    root = Path.cwd()
    storage = Storage(root)
    here = scored_run(root, WORKSPACE, storage)
    checks = check_scores(here.metrics["model"], bounds)
    if bounds.not_worse_than_release:
        checks.append(_against_release(root, here, bounds, storage))
    rows = [(one.name, one.value, one.bound, "passed" if one.passed else "HELD") for one in checks]
    typer.echo(columns([("", "is", "must be", ""), *rows], "lrrl"))
    held = [check.name for check in checks if not check.passed]
    if held:
        typer.echo(f"Held: {', '.join(held)}. `headstart run` does not export this model.")
        raise typer.Exit(HELD)
    typer.echo("Passed.")


def _against_release(root: Path, here: ScoredRun, bounds: GateParams, storage: Storage) -> Check:
    """Print a sentence about the paired test against the last release, and return its check.

    A model that cannot be tested does not pass.
    """
    from headstart.cli.scored_runs import Pair, scored_run
    from headstart.evaluation.gate import Check
    from headstart.pipeline.git import Repository

    name, tags = "not worse than the last release", bounds.release_tags
    tag = Repository(root).nearest_tag(tags)
    if tag is None:
        typer.echo(f"There is no release yet: no tag {tags!r} at or before this commit.")
        return Check(name, "no release", "", passed=True)
    pair = Pair(scored_run(root, tag, storage), here)
    if pair.found is None or not pair.found.shared:
        typer.echo(pair.sentence())
        return Check(name, "untested", f"tested against {tag}", passed=False)
    p = pair.found.test.p_worse
    chance = f"with equally good models, the probability of as many losses or more is {p:.3g}"
    typer.echo(pair.sentence(chance))
    bound = f"p ≥ {bounds.significance:g} against {tag}"
    return Check(name, f"p = {p:.4f}", bound, passed=p >= bounds.significance)
