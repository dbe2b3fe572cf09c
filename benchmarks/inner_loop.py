"""What a changed head costs: a whole `dvc repro` on the embedded digits, stage by stage.

    python -m benchmarks.inner_loop --beside HEAD~20

Each project runs once with an empty cache, then its learning rate is changed and everything runs
again, several times. With ``--beside``, an earlier revision does the same in turn. Printed are
medians: seconds by the clock, of CPU (which other work on the machine changes less), and of each
stage.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from benchmarks.checkout import ROOT, Checkout, Repeats

_STAGES = ("train_head", "fine_tune", "evaluate", "export", "make_report")
_RATE = 0.001


class Run(NamedTuple):
    """Seconds of a `dvc repro` by the clock and of CPU, and of each stage by the clock."""

    seconds: float
    cpu: float
    stages: tuple[float, ...]


def main(
    repeats: Repeats = 5,
    beside: Annotated[str | None, typer.Option(help="an earlier revision of git")] = None,
) -> None:
    """Measure and print the medians."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        projects = {"this tree": Checkout(folder / "this", folder / "store")}
        if beside is not None:
            tree = folder / "tree"
            for words in (["clone", "--quiet", str(ROOT), str(tree)],
                          ["-C", str(tree), "checkout", "--quiet", beside]):  # fmt: skip
                subprocess.run(["git", *words], check=True)
            projects[beside] = Checkout(folder / "beside", folder / "other", root=tree)
        for title, project in projects.items():
            cost, _ = project.measure("dvc", "repro")
            stages = project.statistics("runtime")["seconds"]
            print(
                f"{title}, empty cache: {cost.seconds:.1f} s, {cost.cpu:.1f} s of CPU, "
                f"stages {stages:.1f} s",
                flush=True,
            )
        found: dict[str, list[Run]] = {title: [] for title in projects}
        for number in range(1, repeats + 1):
            for title, project in projects.items():
                project.set(train_head__learning_rate=_RATE * (1 + number / 100))
                found[title].append(_run(project))
                print(title, found[title][-1], flush=True)
    for title, runs in found.items():
        seconds, cpu, stages = zip(*runs, strict=True)
        print(
            f"{title}, changed head: {statistics.median(seconds):.1f} s, "
            f"{statistics.median(cpu):.1f} s of CPU (medians of {repeats})"
        )
        for stage, times in zip(_STAGES, zip(*stages, strict=True), strict=True):
            print(f"  {stage:12} {statistics.median(times):.2f} s")


def _run(project: Checkout) -> Run:
    cost, _ = project.measure("dvc", "repro")
    stages = tuple(float(project.statistics(stage)["seconds"]) for stage in _STAGES)
    return Run(cost.seconds, cost.cpu, stages)


if __name__ == "__main__":
    typer.run(main)
