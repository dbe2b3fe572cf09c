"""`headstart predict` beside the extraction of features, on the same photos.

    KERAS_HOME=/path/to/keras python -m benchmarks.predict --archive cats-dogs.zip

In a throw-away copy of this project, the pipeline is run on the photos with MobileNetV2 at 224
pixels. Then, in turn, each a fresh process from start to exit:

(a) ``python -m stages.extract_features`` with an empty feature store, reading shards
(b) ``headstart predict`` on the folder of files, with the exported model, rows as JSON lines
"""

from __future__ import annotations

import argparse
import os
import resource
import shlex
import statistics
import sys
import tempfile
import time
from pathlib import Path

from ruamel.yaml import YAML

from benchmarks.checkout import Checkout
from benchmarks.extraction import unpack


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--archive", type=Path, required=True, help="zip of class folders")
    parser.add_argument("--limit", type=int, help="images in all; default: all")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each, in turn")
    parser.add_argument("--keep", type=Path, help="leave the export and the images here")
    options = parser.parse_args()
    if "KERAS_HOME" not in os.environ:
        print("Skipped: KERAS_HOME must name a folder with Keras' weights.")
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(options, Path(folder))


def measure(options: argparse.Namespace, folder: Path) -> None:
    """Run the pipeline, then both ways in turn."""
    checkout = Checkout(folder / "project", folder / "store")
    count = unpack(options.archive, checkout.folder / "images", options.limit)
    checkout.set(
        download__source="folder", download__location="images", backbone__name="mobilenet_v2",
        backbone__weights="imagenet", backbone__alpha=1.0, backbone__image_size=224,
    )  # fmt: skip
    checkout.run("dvc", "init", "--quiet", "--force")
    seconds, _ = checkout.repro()
    print(f"The pipeline on {count:,} photos, once: {seconds:.1f} s (not compared).")
    extract = stage_command(checkout.folder / "dvc.yaml", "extract_features")
    rows = checkout.folder / "rows.jsonl"
    predict = [
        sys.executable, "-c",
        "import sys; from headstart import app; sys.stdout = open(sys.argv.pop(), 'w'); app()",
        "predict", "images", str(rows),
    ]  # fmt: skip
    ratios: list[tuple[float, float]] = []
    for turn in range(options.repeats):
        checkout.environment["HEADSTART_CACHE"] = str(folder / f"store{turn}")
        extracting, predicting = timed(checkout, extract), timed(checkout, predict)
        told = len(rows.read_text().splitlines())
        ratios.append((extracting[0] / predicting[0], extracting[1] / predicting[1]))
        for name, (wall, cpu) in {"(a)": extracting, "(b)": predicting}.items():
            print(
                f"{name} {wall:.2f} s, {count / wall:,.0f} a second; {cpu:.2f} s of CPU", end="  "
            )
        print(f"{told:,} rows")
    wall, cpu = (statistics.median(column) for column in zip(*ratios, strict=True))
    print(f"(a) / (b), median: {wall:.2f} of the time, {cpu:.2f} of the CPU's")
    if options.keep:
        options.keep.mkdir(parents=True)
        (checkout.folder / "data" / "export").rename(options.keep / "export")
        (checkout.folder / "images").rename(options.keep / "images")


def stage_command(pipeline: Path, name: str) -> list[str]:
    """What dvc.yaml calls a stage by."""
    document = YAML(typ="safe").load(pipeline.read_text(encoding="utf-8"))
    python, *rest = shlex.split(document["stages"][name]["cmd"])
    if python != "python":
        raise ValueError(f"{name} is not called by python but by {python}")
    return [sys.executable, *rest]


def timed(checkout: Checkout, command: list[str]) -> tuple[float, float]:
    """Seconds of a fresh process, and what it took of the CPU, which other work disturbs less."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    checkout.run(*command)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
