"""What 1 % more images cost in other orchestrators: images computed again, seconds, CPU seconds.

    python -m benchmarks.incremental --archive ../shared/datasets/cats-dogs.zip

Each contender runs three times on the same images: first, after 1 % more were added, and with
nothing to do. All do the same work, a forward pass per image through the network that Headstart
converted (work.py), each in the way that its documentation teaches, and in an environment of its
own that uv makes in ``$HEADSTART_CACHE/benchmarks``. Headstart runs to `extract_features`: before
that it also checks every image, writes shards, looks for duplicates and splits.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.checkout import Archive, Checkout, Cost, measured, start, unpack
from headstart._utils.cache import cache_folder
from headstart._utils.tables import columns

_HERE = Path(__file__).resolve().parent
_WORK = ("ai-edge-litert==2.3.0", "numpy==2.4.6", "pillow==12.3.0")
_DVC = """\
stages:
  extract:
    cmd: {python} work.py
    deps: [images, network.tflite, work.py]
    outs: [features.npz]
"""


@dataclass(frozen=True)
class Contender:
    """An orchestrator.

    Attributes
    ----------
    packages : tuple of str
        Pinned requirements of its environment.
    script : str
        Its program, beside this file; "" for none.
    command : tuple of str
        Of a run; the first word is looked for in its environment.
    prepare : tuple of str
        A command before the first run.
    """

    packages: tuple[str, ...]
    script: str
    command: tuple[str, ...]
    prepare: tuple[str, ...] = ()


CONTENDERS: Mapping[str, Contender] = {
    "DVC, a stage per data set": Contender(
        ("dvc==3.67.1",), "", ("dvc", "repro"), ("dvc", "init", "--no-scm", "--quiet")
    ),
    "Prefect, a cached task per image": Contender(
        ("prefect==3.8.8", "fastapi<0.151", "sqlalchemy<2.1"), "in_prefect.py",
        ("python", "in_prefect.py"),
    ),
    "Kedro, IncrementalDataset": Contender(
        ("kedro==1.7.0", "kedro-datasets==9.6.0"), "in_kedro.py", ("python", "in_kedro.py")
    ),
    "Dagster, a partition per image": Contender(
        ("dagster==1.13.29",), "in_dagster.py", ("python", "in_dagster.py")
    ),
    "Metaflow, a branch per class": Contender(
        ("metaflow==2.19.39",), "in_metaflow.py", ("python", "in_metaflow.py", "--quiet", "run")
    ),
}  # fmt: skip


@dataclass
class Result:
    """What the three runs of a contender cost."""

    costs: list[Cost] = field(default_factory=list)
    passes: list[int] = field(default_factory=list)
    absent: int | None = None


def main(
    archive: Archive,
    count: Annotated[int, typer.Option(help="images at first")] = 1000,
    share: Annotated[float, typer.Option(help="share of images that are added")] = 0.01,
    side: Annotated[int, typer.Option(help="pixels per side")] = 96,
    only: Annotated[str, typer.Option(help="contenders whose names begin so")] = "",
) -> None:
    """Measure all contenders and print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        added = max(round(count * share), 1)
        files = unpack(archive, folder / "all", (count + added) // 2 + 1)
        held = files[:: len(files) // added][:added]
        first = [path for path in files if path not in set(held)][:count]
        found = {"Headstart": headstart(folder, first, held, side)}
        network = folder / "project/data/backbone/backbone.tflite"
        for title, contender in CONTENDERS.items():
            if title.startswith(only):
                found[title] = runs(folder, title, contender, network, first, held)
    show(found, len(first), len(held))


def headstart(folder: Path, first: Sequence[Path], held: Sequence[Path], side: int) -> Result:
    """Run this pipeline up to the features."""
    images = folder / "images"
    project = Checkout(folder / "project", folder / "store")
    project.set(
        download__source="folder", download__location=str(images), backbone__image_size=side
    )
    result = Result()
    for new in (first, held, ()):
        place(new, folder / "all", images)
        result.costs.append(project.measure("dvc", "repro", "extract_features")[0])
        done = int(project.statistics("extract_features")["passes_done"])
        result.passes.append(done if new else 0)
    names = project.run("python", "-c", _COUNT)[1].split()
    result.absent = len(first) + len(held) - int(names[-1])
    return result


_COUNT = (
    "import headstart as hs; r = hs.load_run('.'); "
    "print(sum(len(r.features(s)[1]) for s in ('train', 'validation', 'test')))"
)


def runs(
    folder: Path, title: str, contender: Contender, network: Path,
    first: Sequence[Path], held: Sequence[Path],
) -> Result:  # fmt: skip
    """Run a contender in a folder of its own."""
    binaries = environment(title.partition(",")[0].lower(), (*contender.packages, *_WORK))
    own = folder / title.partition(",")[0]
    own.mkdir()
    shutil.copy(_HERE / "work.py", own)
    shutil.copy(network, own / "network.tflite")
    if contender.script:
        shutil.copy(_HERE / contender.script, own)
    (own / "dvc.yaml").write_text(_DVC.format(python=binaries / "python"))
    counter = folder / f"{own.name}.passes"
    variables = {
        **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "PASSES": str(counter),
        "HOME": str(own / "home"),
        "USER": "benchmark",
        "PREFECT_HOME": str(own / "prefect"),
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "600",
        "DAGSTER_HOME": str(own / "dagster"),
        "DVC_NO_ANALYTICS": "1",
        "KEDRO_DISABLE_TELEMETRY": "1",
    }
    (own / "home").mkdir()
    if contender.prepare:
        measured([str(binaries / contender.prepare[0]), *contender.prepare[1:]], own, variables)
    result = Result()
    before = 0
    for new in (first, held, ()):
        place(new, folder / "all", own / "images")
        command = [str(binaries / contender.command[0]), *contender.command[1:]]
        result.costs.append(measured(command, own, variables)[0])
        passes = len(counter.read_text().splitlines())
        result.passes.append(passes - before)
        before = passes
    with np.load(own / "features.npz") as saved:
        result.absent = len(first) + len(held) - len(saved["names"])
    print(f"{title}: done", file=sys.stderr, flush=True)
    return result


def place(new: Sequence[Path], top: Path, images: Path) -> None:
    """Copy images to a contender's folder."""
    for path in new:
        target = images / path.relative_to(top)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


def environment(name: str, packages: Sequence[str]) -> Path:
    """Return the folder of programs of an environment, made by uv if it does not exist."""
    folder = cache_folder() / "benchmarks" / name
    done = folder / "packages.txt"
    if not done.is_file() or done.read_text() != "\n".join(packages):
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        subprocess.run(["uv", "venv", "--quiet", "--clear", "--python", python, folder], check=True)
        inside = ["--python", str(folder), *packages]
        subprocess.run(["uv", "pip", "install", "--quiet", *inside], check=True)
        done.write_text("\n".join(packages))
    return folder / "bin"


def show(found: Mapping[str, Result], first: int, held: int) -> None:
    """Print the table in Markdown."""
    rows = [
        ("", f"first {first:,}: s", f"+ {held}: passes", "images absent", f"+ {held}: s",
         "CPU s", "nothing: s", "CPU s"),
        *(
            (
                title, f"{each.costs[0].seconds:.1f}", f"{each.passes[1]:,}", f"{each.absent:,}",
                f"{each.costs[1].seconds:.1f}", f"{each.costs[1].cpu:.1f}",
                f"{each.costs[2].seconds:.1f}", f"{each.costs[2].cpu:.1f}",
            )
            for title, each in found.items()
        ),
    ]  # fmt: skip
    print(columns(rows, "lrrrrrrr"))
    again = {title: each.passes[2] for title, each in found.items() if each.passes[2]}
    print(f"Passes with nothing to do: {again or 'none'}. Load: {os.getloadavg()[0]:.1f}.")


if __name__ == "__main__":
    start(main, __doc__)
