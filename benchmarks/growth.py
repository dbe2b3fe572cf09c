"""What ten more images cost a large data set: seconds per stage and megabytes of new cache.

    python -m benchmarks.growth --count 100000

The images are small squares of noise over a color per class, in a temporary folder. The pipeline
runs three times: with nothing cached, after ten more images, and with nothing to do.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image
from ruamel.yaml import YAML

from benchmarks.checkout import Checkout, start

_CLASSES = 10
_SHOWN = 0.05  # MB of an output that gets a line


def main(
    count: Annotated[int, typer.Option(help="images at first")] = 20_000,
    added: Annotated[int, typer.Option(help="images that are added")] = 10,
    side: Annotated[int, typer.Option(help="pixels; from 32, duplicates are searched")] = 24,
    target: Annotated[str, typer.Option(help="the last stage")] = "make_report",
    store: Annotated[
        Path | None, typer.Option(help="a cache folder that has the features of the images")
    ] = None,
) -> None:
    """Measure and print the tables."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = folder / "images"
        write_images(images, range(count), side)
        project = Checkout(folder / "project", store or folder / "store")
        project.set(download__source="folder", download__location=str(images))
        runs = {"cold": Run(project, target)}
        write_images(images, range(count, count + added), side)
        runs[f"+{added}"] = Run(project, target)
        runs["nothing"] = Run(project, target)
    show(runs, count)


def write_images(folder: Path, numbers: range, side: int) -> None:
    """Write small PNG files into class folders: noise over a color, so that a head can learn."""
    for number in numbers:
        rng = np.random.default_rng(number)
        color = np.array([number % _CLASSES * 25, 255 - number % 7 * 30, 128])
        pixels = np.clip(color + rng.integers(-60, 60, (side, side, 3)), 0, 255)
        stream = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(stream, "PNG", compress_level=1)
        path = folder / f"color-{number % _CLASSES}" / f"{number:07}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stream.getvalue())


class Run:
    """One ``dvc repro`` and what it cost.

    Attributes
    ----------
    seconds, cpu : float
        Of the whole command.
    stages : dict of str to float
        Seconds of each stage that ran.
    cache, store : float
        Megabytes that are new in DVC's cache and in the cache folder.
    outputs : defaultdict of str to float
        Megabytes that are new in DVC's cache, per output.
    load : float
        Load of the machine when the run ended.
    """

    def __init__(self, project: Checkout, target: str) -> None:
        objects, store = (
            project.folder / ".dvc" / "cache",
            Path(project.environment["HEADSTART_CACHE"]),
        )
        before, stored = set(files(objects)), sum(files(store).values())
        began = {path: path.stat().st_mtime_ns for path in statistics(project)}
        cost, self.printed = project.measure("dvc", "repro", target)
        self.seconds, self.cpu, self.load = cost.seconds, cost.cpu, os.getloadavg()[0]
        print(f"{cost.seconds:.1f} s, of processors {cost.cpu:.1f} s", flush=True)
        self.stages = {
            path.stem: float(json.loads(path.read_text())["seconds"])
            for path in statistics(project)
            if path.stat().st_mtime_ns != began.get(path)
        }
        new = {path: size for path, size in files(objects).items() if path not in before}
        self.cache, self.store = sum(new.values()), sum(files(store).values()) - stored
        self.outputs: defaultdict[str, float] = defaultdict(float)
        for output, md5 in recorded(project):
            path = objects / "files" / "md5" / md5[:2] / md5[2:]
            self.outputs[output] += new.pop(path, 0.0)


def statistics(project: Checkout) -> list[Path]:
    """Return the run statistics of the stages."""
    names = YAML(typ="safe").load((project.folder / "dvc.yaml").read_text())["stages"]
    found = (project.folder / "data" / "run_statistics" / f"{name}.json" for name in names)
    return [path for path in found if path.is_file()]


def files(folder: Path) -> dict[Path, float]:
    """Return the megabytes of every file below a folder."""
    return {path: path.stat().st_size / 1e6 for path in folder.rglob("*") if path.is_file()}


def recorded(project: Checkout) -> Iterator[tuple[str, str]]:
    """Yield output and MD5 of every file that dvc.lock records, and of every list of files."""
    lock = YAML(typ="safe").load((project.folder / "dvc.lock").read_text())
    for stage in lock["stages"].values():
        for out in stage.get("outs", ()):
            md5 = out["md5"]
            yield out["path"], md5
            listing = project.folder / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
            if md5.endswith(".dir") and listing.is_file():
                for entry in json.loads(listing.read_text()):
                    yield out["path"], entry["md5"]


def show(runs: dict[str, Run], count: int) -> None:
    """Print seconds per stage, megabytes per output, and the load."""
    names = list(dict.fromkeys(name for run in runs.values() for name in run.stages))
    print(f"\n{count:,} images{'':22}" + "".join(f"{name:>12}" for name in runs))
    for name in names:
        cells = (
            f"{run.stages[name]:12.1f}" if name in run.stages else f"{'–':>12}"
            for run in runs.values()
        )
        print(f"{name + ', s':36}" + "".join(cells))
    for what in ("seconds", "cpu", "cache", "store", "load"):
        unit = {"cache": ", MB new in DVC's cache", "store": ", MB new in the cache folder"}.get(
            what, ""
        )
        print(f"{what + unit:36}" + "".join(f"{getattr(run, what):12.1f}" for run in runs.values()))
    for name in sorted({output for run in runs.values() for output in run.outputs}):
        values = [run.outputs[name] for run in runs.values()]
        if max(values[1:]) >= _SHOWN:
            print(f"{'  ' + name + ', MB':36}" + "".join(f"{value:12.2f}" for value in values))


if __name__ == "__main__":
    start(main, __doc__)
