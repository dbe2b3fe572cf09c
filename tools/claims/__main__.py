"""The tutorials' claims beside what is measured here; writes docs/claims.json and docs/claims.md.

    make claims SHARED=../shared
    python -m tools.claims --shared ../shared --only alien fruits
    python -m tools.claims --render

SHARED holds `datasets/*.zip` and Keras' files of weights in `keras/models`. Where a file is absent,
the page says that the claim was not measured, and why. Every run is the pipeline itself, in a
throw-away copy of this project, by its recipe; all share one feature store, empty at first.
`--only` measures some groups and keeps the others as they are in docs/claims.json; `--render`
writes the page from it again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.checkout import Checkout
from headstart._utils.files import read_json, write_json, write_text
from headstart.evaluation.environment import environment
from headstart.stage import versions
from tools.claims.measure import IMAGENET_FILES, Project
from tools.claims.page import render
from tools.claims.plan import PAIRS, RUNS, lacking
from tools.contract import ROOT

JSON = ROOT / "docs/claims.json"
COUNTS, IMAGENET = "counts", "imagenet"
GROUPS = (COUNTS, IMAGENET, *RUNS)
_MACHINE = ("cores", "cpu", "system", "machine", "python", "packages")


def main(arguments: list[str] | None = None, target: Path = JSON) -> None:
    """Measure the requested groups, merge them into the record, and write record and page.

    In the record, ``groups`` has the results of each group, with the commit and the machine.
    ``origins`` says of files of weights, by the first digits of their SHA-256, what somebody
    reported about them: nothing is compared with these digits.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, help="folder with datasets and keras/models")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=GROUPS, metavar="GROUP")
    parser.add_argument("--origin", help="origin of the files of weights, if it is not Keras")
    parser.add_argument("--render", action="store_true", help="measure nothing")
    options = parser.parse_args(arguments)
    found = read_json(target) if target.is_file() else {"origins": {}, "groups": {}}
    if not options.render:
        shared = options.shared
        if shared is None or not (shared / "datasets").is_dir():
            sys.exit(
                f"There is no folder `datasets` in {shared}. Nothing was measured, nothing was "
                "written. Name the folder that holds it: make claims SHARED=/path/to/shared."
            )
        with tempfile.TemporaryDirectory() as folder:
            for name in options.only:
                measured = found["groups"][name] = group(name, shared.resolve(), Path(folder))
                used = [r["weights"] for r in measured["results"].values() if "weights" in r]
                if options.origin:
                    found["origins"] |= {file["sha256"]: options.origin for file in used}
                write_json(target, found)
    write_text(target.with_suffix(".md"), render(found))


def group(name: str, shared: Path, folder: Path) -> dict[str, Any]:
    """Measure a group; return its results with the commit, the machine and the seconds."""
    start, at = time.perf_counter(), commit()
    machine = environment(versions.read(ROOT / "runtime.txt"))
    lacks = {run.name: run.lacks(shared) for run in RUNS.get(name, ())}
    if name == IMAGENET:
        lacks[IMAGENET] = lacking(shared, IMAGENET_FILES)
    results: dict[str, Any] = {each: {"lacks": lack} for each, lack in lacks.items() if lack}
    for each, result in results.items():
        print(f"{each}: not measured: {result['lacks']}", flush=True)
    if len(results) < len(lacks) or name == COUNTS:
        home = shared / "keras" if name != COUNTS else None
        checkout = Checkout(folder / name / "project", folder / "store", home)
        results |= measure(name, Project(checkout, shared), results)
    seconds = round(time.perf_counter() - start, 1)
    shown = {key: machine[key] for key in _MACHINE}
    return {"commit": at, "machine": shown, "results": results, "seconds": seconds}


def measure(name: str, project: Project, lacking: dict[str, Any]) -> dict[str, Any]:
    """Measure the items of a group whose files are present; return the results by name."""
    if name == COUNTS:
        return project.in_keras("counts")[1]
    if name == IMAGENET:
        return {IMAGENET: project.imagenet()}
    for run in RUNS[name]:
        if run.name in lacking:
            continue
        result = project.run(run)
        print(
            f"{run.name}: {result['model']['right']} of {result['test']}, "
            f"{result['passes']:,} passes, {result['seconds']} s",
            flush=True,
        )
        if run.name == "way-a":
            project.results["ways"] = project.ways(run.name)
    for pair in PAIRS.get(name, ()):
        if not {pair.first[0], pair.second[0]} & lacking.keys():
            project.compare(pair)
    return project.results


def commit() -> str:
    """Return the commit of the working tree; with ``+`` if other files than ours differ."""

    def git(*words: str) -> str:
        return subprocess.check_output(["git", *words], cwd=ROOT, text=True).strip()

    changed = git("status", "--porcelain", "--", ".", ":(exclude,glob)docs/claims.*")
    return git("rev-parse", "--short=7", "HEAD") + ("+" if changed else "")


if __name__ == "__main__":
    main()
