"""What a changed head costs: a whole `dvc repro` on the embedded digits, stage by stage.

    python -m benchmarks.inner_loop --beside HEAD~20

Each project runs once with an empty cache, then its learning rate is changed and everything runs
again, several times. With ``--beside``, an earlier revision does the same in turn. Printed are
medians: seconds by the clock, of CPU (which other work on the machine changes less), and of each
stage. A second project with an empty cache of its own shows whether the model has the same bytes.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from benchmarks.checkout import ROOT, Checkout, Repeats
from headstart._utils.files import read_json, sha256_tree

_STAGES = ("train_head", "fine_tune", "evaluate", "export", "make_report")
_RATE = 0.001


class Run(NamedTuple):
    """Seconds of a `dvc repro` by the clock and of CPU, and of each stage by the clock."""

    seconds: float
    cpu: float
    stages: tuple[float, ...]

    @property
    def rest(self) -> float:
        """Seconds of DVC itself, and of starting the stages' processes."""
        return self.seconds - sum(self.stages)


def main(
    repeats: Repeats = 5,
    beside: Annotated[str | None, typer.Option(help="an earlier revision of git")] = None,
) -> None:
    """Measure and print the medians."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        roots = {"this tree": ROOT}
        if beside is not None:
            roots[beside] = folder / "tree"
            for words in (["clone", "--quiet", str(ROOT), str(roots[beside])],
                          ["-C", str(roots[beside]), "checkout", "--quiet", beside]):  # fmt: skip
                subprocess.run(["git", *words], check=True)
        projects = {
            title: _cold(folder / str(place), title, root)
            for place, (title, root) in enumerate(roots.items())
        }
        _cold(folder / "again", "this tree again", ROOT)
        found: dict[str, list[Run]] = {title: [] for title in projects}
        for number in range(1, repeats + 1):
            for title, project in projects.items():
                project.set(train_head__learning_rate=_RATE * (1 + number / 100))
                found[title].append(_run(project))
                print(title, found[title][-1], flush=True)
    for title, runs in found.items():
        print(
            f"{title}, changed head: {statistics.median(run.seconds for run in runs):.1f} s, "
            f"{statistics.median(run.cpu for run in runs):.1f} s of CPU (medians of {repeats})"
        )
        for place, stage in enumerate(_STAGES):
            print(f"  {stage:12} {statistics.median(run.stages[place] for run in runs):.2f} s")
        print(f"  {'the rest':12} {statistics.median(run.rest for run in runs):.2f} s")


def _cold(folder: Path, title: str, root: Path) -> Checkout:
    """Return a project that ran with an empty cache; print its cost and the sha256 of its model."""
    project = Checkout(folder / "project", folder / "store", root=root)
    cost, _ = project.measure("dvc", "repro")
    stages = project.statistics("runtime")["seconds"]
    model = read_json(project.folder / "data/metrics/export.json")["model_sha256"]
    print(
        f"{title}, empty cache: {cost.seconds:.1f} s, {cost.cpu:.1f} s of CPU, "
        f"stages {stages:.1f} s\n  sha256 of model.json {model},\n"
        f"  of the export folder {sha256_tree(project.folder / 'data/export')}",
        flush=True,
    )
    return project


def _run(project: Checkout) -> Run:
    cost, _ = project.measure("dvc", "repro")
    stages = tuple(float(project.statistics(stage)["seconds"]) for stage in _STAGES)
    return Run(cost.seconds, cost.cpu, stages)


if __name__ == "__main__":
    typer.run(main)
