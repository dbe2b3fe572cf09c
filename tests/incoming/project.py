"""A project with a small run, and new images for it."""

from __future__ import annotations

import shutil
from pathlib import Path

from headstart.datasets.manifests import IMAGES, read_split, write_images
from tests.conftest import ROOT
from tests.images.made import encoded
from tests.runs import projects
from tests.stages import small_run
from tests.stages.small_run import SmallRun


def make(run: SmallRun, folder: Path) -> Path:
    """A project whose run is ``run``."""
    (folder / "data/manifests").mkdir(parents=True)
    (folder / "data/models").mkdir()
    for source, target in (
        (run.images, "images"),
        (run.features, "features"),
        (run.backbone, "backbone"),
        (run.head, "models/head"),
        (run.head, "models/fine_tuned"),
    ):
        shutil.copytree(source, folder / "data" / target)
    rows = read_split(run.manifest)
    shutil.copy(run.manifest, folder / "data/manifests/sample.csv")
    write_images(folder / "data/manifests/images.csv", rows[list(IMAGES)])
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, folder)
    projects.call(folder, "dvc", "init", "-q", "--no-scm")
    return folder


def new_images(folder: Path, count: int, start: int = 1000) -> Path:
    """Write images like those of the run, and return their folder."""
    folder.mkdir(parents=True)
    for number in range(count):
        image = small_run.image(number % 3, start + number)
        (folder / f"{number:03}.png").write_bytes(encoded(image, "PNG"))
    return folder
