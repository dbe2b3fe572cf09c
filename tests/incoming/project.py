"""A project with a small run, and new images for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from headstart.datasets.duplicates import write_groups
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
    (folder / "data/audit").mkdir()
    write_groups(folder / "data/audit/duplicate_groups.csv", {})
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, folder)
    projects.call(folder, "dvc", "init", "-q", "--no-scm")
    return folder


def new_images(
    folder: Path,
    count: int,
    kinds: Sequence[str] = ("PNG",),
    change: Callable[[Image.Image], Image.Image] = lambda image: image,
) -> Path:
    """Write images like those of the run, and return their folder; files alternate in format."""
    folder.mkdir(parents=True)
    for number in range(count):
        image = change(small_run.image(number % 3, 1000 + number))
        content = encoded(image, kinds[number % len(kinds)])
        (folder / f"{number:03}.png").write_bytes(content)
    return folder
