"""What a large data set costs, and ten more images: seconds, memory and megabytes of new cache.

    python -m benchmarks.growth --count 100000
    python -m benchmarks.growth --count 1000000 --archive --side 8 --size 32 --target evaluate

The images are small squares of noise over a color per class, in a temporary folder. The pipeline
runs three times: with nothing cached, after ten more images, and with nothing to do. Memory is the
largest of one process of the stage, and of all processes in the line `memory`.
"""

from __future__ import annotations

import json
import os
import struct
import tempfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from ruamel.yaml import YAML

from benchmarks.checkout import Checkout, start

_CLASSES = 10
_BLOCK = 1000
_SHOWN = 0.05  # MB of an output that gets a line


def main(
    count: Annotated[int, typer.Option(help="images at first")] = 20_000,
    added: Annotated[int, typer.Option(help="images that are added")] = 10,
    side: Annotated[int, typer.Option(help="pixels; from 32, duplicates are searched")] = 24,
    target: Annotated[str, typer.Option(help="the last stage")] = "make_report",
    store: Annotated[
        Path | None, typer.Option(help="a cache folder that has the features of the images")
    ] = None,
    archive: Annotated[bool, typer.Option("--archive", help="one zip, not a folder")] = False,
    epochs: Annotated[int | None, typer.Option(help="of the head; default: the project's")] = None,
    size: Annotated[int | None, typer.Option(help="pixels for the backbone")] = None,
) -> None:
    """Measure and print the tables."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = folder / ("images.zip" if archive else "images")
        write = write_archive if archive else write_folder
        write(images, range(count), side)
        project = Checkout(folder / "project", store or folder / "store")
        kind = "archive" if archive else "folder"
        project.set(download__source=kind, download__location=str(images))
        if epochs is not None:
            project.set(train_head__epochs=epochs)
        if size is not None:
            project.set(backbone__image_size=size)
        runs = {"cold": Run(project, target)}
        write(images, range(count, count + added), side)
        runs[f"+{added}"] = Run(project, target)
        runs["nothing"] = Run(project, target)
        plan = project.measure("headstart", "plan")[0]
    show(runs, count)
    print(f"{'headstart plan: s, MB':36}{plan.seconds:14.1f}{plan.megabytes:14.0f}")


def write_folder(folder: Path, numbers: range, side: int) -> None:
    """Write images into class folders."""
    for name, content in made(numbers, side):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def write_archive(path: Path, numbers: range, side: int) -> None:
    """Add images to a zip of class folders."""
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        for name, content in made(numbers, side):
            archive.writestr(name, content)


def made(numbers: range, side: int) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of small PNG files: noise over a color, so that a head can learn."""
    for block in range(numbers.start // _BLOCK, -(-numbers.stop // _BLOCK)):
        every = np.arange(block * _BLOCK, (block + 1) * _BLOCK)
        color = np.stack([every % _CLASSES * 25, 255 - every % 7 * 30, 0 * every + 128], axis=1)
        noise = np.random.default_rng(block).integers(-60, 60, (_BLOCK, side, side, 3))
        pixels = np.clip(color[:, None, None] + noise, 0, 255).astype(np.uint8)
        for number in every[np.isin(every, numbers)].tolist():
            content = png(pixels[number % _BLOCK])
            yield f"color-{number % _CLASSES}/{number:07}.png", content


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return the PNG file of RGB pixels; Pillow takes ten times as long for small ones."""
    height, width, _ = pixels.shape
    lines = np.pad(
        pixels.reshape(height, -1), ((0, 0), (1, 0))
    )  # each begins with its filter: none
    chunks = (
        (b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines.tobytes(), 1)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


class Run:
    """One ``dvc repro`` and what it cost.

    Attributes
    ----------
    seconds, cpu : float
        Of the whole command.
    memory : float
        Megabytes of its largest process.
    stages : dict of str to float
        Seconds of each stage that ran.
    peaks : dict of str to float
        Megabytes of memory of each stage that ran.
    disk : float
        Megabytes in the project's folder, DVC's cache included, when the run ended.
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
        self.memory = cost.megabytes
        print(f"{cost.seconds:.1f} s, of processors {cost.cpu:.1f} s", flush=True)
        ran = {
            path.stem: json.loads(path.read_text())
            for path in statistics(project)
            if path.stat().st_mtime_ns != began.get(path)
        }
        self.stages = {name: float(entry["seconds"]) for name, entry in ran.items()}
        self.peaks = {name: float(entry["peak_memory_mb"]) for name, entry in ran.items()}
        self.disk = sum(files(project.folder).values())
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
    print(f"\n{count:,} images{'':22}" + "".join(f"{name:>14}" for name in runs))
    for name in names:
        cells = (
            f"{run.stages[name]:7.1f}{run.peaks[name]:7.0f}" if name in run.stages else f"{'–':>14}"
            for run in runs.values()
        )
        print(f"{name + ': s, MB of memory':36}" + "".join(cells))
    units = {
        "memory": ", MB of the largest process",
        "disk": ", MB of the project and DVC's cache",
        "cache": ", MB new in DVC's cache",
        "store": ", MB new in the cache folder",
    }
    for what in ("seconds", "cpu", "memory", "disk", "cache", "store", "load"):
        unit = units.get(what, "")
        print(f"{what + unit:36}" + "".join(f"{getattr(run, what):14.1f}" for run in runs.values()))
    for name in sorted({output for run in runs.values() for output in run.outputs}):
        values = [run.outputs[name] for run in runs.values()]
        if max(values[1:]) >= _SHOWN:
            print(f"{'  ' + name + ', MB':36}" + "".join(f"{value:14.2f}" for value in values))


if __name__ == "__main__":
    start(main, __doc__)
