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

from headstart._utils.files import read_json, write_json, write_text
from headstart.evaluation.environment import environment
from headstart.stage import versions
from tools.claims.measure import IMAGENET_FILES, Copy, Project
from tools.claims.page import render
from tools.claims.plan import PAIRS, RUNS, lacking
from tools.contract import ROOT

JSON = ROOT / "docs/claims.json"
FORMAT = 1
COUNTS, IMAGENET = "counts", "imagenet"
GROUPS = (COUNTS, IMAGENET, *RUNS)


def main(arguments: list[str] | None = None, target: Path = JSON) -> None:
    """Measure the requested groups, merge them into the record, and write record and page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, help="folder with datasets and keras/models")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=GROUPS, metavar="GROUP")
    parser.add_argument("--origin", help="origin of the files of weights, if it is not Keras")
    parser.add_argument("--render", action="store_true", help="measure nothing")
    options = parser.parse_args(arguments)
    found = read(target)
    if not options.render:
        shared = options.shared
        if shared is None or not (shared / "datasets").is_dir():
            sys.exit(
                f"There is no folder `datasets` in {shared}. Nothing was measured, nothing was "
                "written. Name the folder that holds it: make claims SHARED=/path/to/shared."
            )
        with tempfile.TemporaryDirectory() as folder:
            for name in options.only:
                measured = group(name, shared.resolve(), Path(folder))
                found["groups"][name] = measured
                used = [r["weights"] for r in measured["results"].values() if "weights" in r]
                if options.origin:
                    found["origins"] |= {file["sha256"]: options.origin for file in used}
                write_json(target, found)
    write_text(target.with_suffix(".md"), render(found))


def read(path: Path) -> dict[str, Any]:
    """Return what was measured before; without a file, an empty record.

    ``groups`` has the results of each group, with the commit and the machine. ``origins`` says of
    files of weights, by the first digits of their SHA-256, what somebody reported about them:
    nothing is compared with these digits.
    """
    if not path.is_file():
        return {"format": FORMAT, "origins": {}, "groups": {}}
    found: dict[str, Any] = read_json(path)
    if found.get("format") != FORMAT:
        raise RuntimeError(
            f"{path.name} has the format {found.get('format')!r}, this code reads {FORMAT}. "
            "Delete it and measure all groups again: make claims."
        )
    return found


def group(name: str, shared: Path, folder: Path) -> dict[str, Any]:
    """Measure a group; return its results with the commit, the machine and the seconds."""
    start = time.perf_counter()
    machine = environment(versions.read(ROOT / "runtime.txt"))
    shown = ("cores", "cpu", "system", "machine", "python", "packages")
    found: dict[str, Any] = {"commit": commit(), "machine": {key: machine[key] for key in shown}}
    lacks = {run.name: run.lacks(shared) for run in RUNS.get(name, ())}
    if name == IMAGENET:
        lacks[IMAGENET] = lacking(shared, IMAGENET_FILES)
    found["results"] = {each: {"lacks": lack} for each, lack in lacks.items() if lack}
    for each, result in found["results"].items():
        print(f"{each}: not measured: {result['lacks']}", flush=True)
    if not lacks or not all(lacks.values()):
        home = shared / "keras" if name != COUNTS else None
        checkout = Copy(folder / name / "project", folder / "store", home)
        found["results"] |= measure(name, Project(checkout, shared), lacks)
    return {**found, "seconds": round(time.perf_counter() - start, 1)}


def measure(name: str, project: Project, lacks: dict[str, str]) -> dict[str, Any]:
    """Measure everything of a group that lacks nothing; return the results by name."""
    if name == COUNTS:
        return project.checkout.in_keras("counts")[1]
    if name == IMAGENET:
        return {IMAGENET: project.imagenet()}
    for run in RUNS[name]:
        if lacks[run.name]:
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
        if not lacks[pair.first[0]] and not lacks[pair.second[0]]:
            project.compare(pair)
    return project.results


def commit() -> str:
    """Return the commit of the working tree; with ``+`` if other files than ours differ."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    ours = [f":(exclude)docs/claims.{suffix}" for suffix in ("json", "md")]
    changed = git("status", "--porcelain", "--", ".", *ours)
    return git("rev-parse", "HEAD")[:7] + ("+" if changed else "")


if __name__ == "__main__":
    main()
