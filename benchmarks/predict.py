"""`headstart predict` beside the extraction of features, on the same photos.

    KERAS_HOME=/path/to/keras python -m benchmarks.predict --archive cats-dogs.zip

In a throw-away copy of this project, the pipeline is run on the photos with MobileNetV2 at 224
pixels. Then, in turn, each a fresh process from start to exit:

(a) ``python -m stages.extract_features`` with an empty feature store, reading shards
(b) ``headstart predict`` on the folder of files, with the exported model, rows as JSON lines
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.checkout import Archive, Limit, Repeats, photo_project, start, unpack


def main(
    archive: Archive,
    limit: Limit = None,
    repeats: Repeats = 3,
    keep: Annotated[Path | None, typer.Option(help="move export and images here")] = None,
) -> None:
    """Run the pipeline, then both ways in turn."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = folder / "images"
        count = len(unpack(archive, images, limit))
        checkout = photo_project(folder, images)
        seconds, _ = checkout.repro()
        print(f"The pipeline on {count:,} photos, once: {seconds:.1f} s (not compared).")
        extract = checkout.stage("extract_features")
        predict = [sys.executable, "-m", "headstart", "predict", str(images), "--format", "jsonl"]
        ratios: list[tuple[float, float]] = []
        for turn in range(repeats):
            checkout.environment["HEADSTART_CACHE"] = str(folder / f"store{turn}")
            a, (b, printed) = checkout.measure(*extract)[0], checkout.measure(*predict)
            ratios.append((a.seconds / b.seconds, a.cpu / b.cpu))
            for way, cost in {"(a)": a, "(b)": b}.items():
                rate = count / cost.seconds
                print(
                    f"{way} {cost.seconds:.2f} s, {rate:,.0f} per second; {cost.cpu:.2f} s of CPU"
                )
            print(f"{sum(line.startswith('{') for line in printed.splitlines()):,} rows")
        wall, cpu = (statistics.median(column) for column in zip(*ratios, strict=True))
        print(f"(a) / (b), median: {wall:.2f} of the time, {cpu:.2f} of the CPU's")
        if keep:
            keep.mkdir(parents=True)
            (checkout.folder / "data" / "export").rename(keep / "export")
            images.rename(keep / "images")


if __name__ == "__main__":
    start(main, __doc__)
