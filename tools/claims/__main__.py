"""The tutorials' claims beside what is measured here; writes docs/claims.json and docs/claims.md.

    make claims SHARED=../shared
    python -m tools.claims --shared ../shared --only alien fruits
    python -m tools.claims --render

SHARED holds `datasets/*.zip` and Keras' files of weights in `keras/models`. What it lacks is told
as not measured, with the reason. Every run is the pipeline itself, in a throw-away copy of this
project, by its recipe; all share one feature store, empty at first. `--only` measures some groups
and keeps the others as they are in docs/claims.json; `--render` writes the page from it again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.checkout import Checkout
from headstart._utils.files import write_json, write_text
from tools.claims import imagenet, page, record, ways
from tools.claims.measure import Project
from tools.claims.runs import PAIRS, RUNS

COUNTS, IMAGENET = "counts", "imagenet"
GROUPS = (COUNTS, IMAGENET, *RUNS)


def main(arguments: list[str] | None = None, target: Path = record.JSON) -> None:
    """Measure what is asked for, merge, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shared", type=Path, help="folder with datasets and keras/models")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=GROUPS, metavar="GROUP")
    parser.add_argument(
        "--origin", help="where the files of weights come from, where they are not Keras' own"
    )
    parser.add_argument("--render", action="store_true", help="measure nothing")
    options = parser.parse_args(arguments)
    found = record.read(target)
    if not options.render:
        shared = options.shared
        if shared is None or not (shared / "datasets").is_dir():
            sys.exit(
                f"There is no folder `datasets` in {shared}. Nothing was measured, nothing was "
                "written. Name the folder that holds it: make claims SHARED=/path/to/shared."
            )
        with tempfile.TemporaryDirectory() as folder:
            for name in options.only:
                found["groups"][name] = group(name, shared.resolve(), Path(folder))
                if options.origin:
                    found["origins"].update(origins(found["groups"][name], options.origin))
                write_json(target, found)
    write_text(target.with_suffix(".md"), page.render(found))


def group(name: str, shared: Path, folder: Path) -> dict[str, Any]:
    """Everything of a group, with what it was measured by."""
    start = time.perf_counter()
    found = {"commit": record.commit(), "machine": record.machine()}
    if name == COUNTS:
        results = counts(folder)
    elif name == IMAGENET:
        results = {IMAGENET: classified(shared, folder)}
    else:
        results = runs(name, shared, folder)
    return {**found, "results": results, "seconds": round(time.perf_counter() - start, 1)}


def origins(measured: dict[str, Any], origin: str) -> dict[str, str]:
    """What is told of every file of weights that a group used."""
    runs = [result for result in measured["results"].values() if "weights" in result]
    return {result["weights"]["sha256"]: origin for result in runs}


def counts(folder: Path) -> dict[str, Any]:
    """Parameters and shapes, by item."""
    checkout = project(COUNTS, folder, None)
    _, printed = checkout.run(sys.executable, "-m", "tools.claims.counts")
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


def classified(shared: Path, folder: Path) -> dict[str, Any]:
    """What a whole network says of cats and dogs, or what it lacks."""
    lack = imagenet.lacks(shared)
    if lack:
        print(f"{IMAGENET}: not measured: {lack}", flush=True)
        return {"lacks": lack}
    return imagenet.measure(project(IMAGENET, folder, shared / "keras"), shared)


def runs(name: str, shared: Path, folder: Path) -> dict[str, Any]:
    """The runs of a group and their comparisons; what cannot be run says what it lacks."""
    lacks = {run.name: run.lacks(shared) for run in RUNS[name]}
    found: dict[str, Any] = {}
    if not all(lacks.values()):
        there = Project(project(name, folder, shared / "keras"), shared)
        for run in RUNS[name]:
            if lacks[run.name]:
                continue
            tell(run.name, there.run(run))
            if run.name == "way-a":
                there.results["ways"] = ways.measure(there, run.name)
        for pair in PAIRS.get(name, ()):
            if not lacks[pair.first[0]] and not lacks[pair.second[0]]:
                there.compare(pair)
        found = there.results
    for run in RUNS[name]:
        if lacks[run.name]:
            print(f"{run.name}: not measured: {lacks[run.name]}", flush=True)
            found[run.name] = {"lacks": lacks[run.name]}
    return found


def project(name: str, folder: Path, home: Path | None) -> Checkout:
    """A copy of this project whose own code is what runs, whatever is installed."""
    checkout = Checkout(folder / name / "project", folder / "store", home)
    checkout.environment["PYTHONPATH"] = str(checkout.folder)
    return checkout


def tell(name: str, result: dict[str, Any]) -> None:
    """A line of progress."""
    score = result["model"]
    print(
        f"{name}: {score['right']} of {result['test']}, {result['passes']:,} passes, "
        f"{result['seconds']} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
