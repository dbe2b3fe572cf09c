"""A project with the results of a small run, made by the real stages, and a cache beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from headstart._utils.locks import exclusive_lock
from headstart.datasets.duplicates import write_groups
from headstart.datasets.manifests import (
    IMAGES,
    REJECTED,
    frame,
    read_split,
    write_images,
    write_rejected,
)
from headstart.training.history import EPOCHS, write_epochs
from tests.conftest import ROOT
from tests.incoming.project import new_images
from tests.serving import models
from tests.stages import small_run

#: The backbone of the run, in the words of :class:`headstart.FeatureExtractor`.
NAME, IMAGE_SIZE = "headstart-small", 48
REJECTED_FILE = {"path": "blue bar/notes.txt", "reason": "not_an_image", "detail": "text"}


def shared(factory: pytest.TempPathFactory) -> Path:
    """Return the folder with ``project`` and ``cache``, made once for all of the suite's processes.

    It is not to be changed.
    """
    base = factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = root / "small project"
    export = models.shared(factory)
    with exclusive_lock(root / "project.lock", "Another process makes the project. Waiting …"):
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("HEADSTART_CACHE", str(folder / "cache"))
                _make(folder / "project", export)
            (folder / "done").touch()
    return folder


def _make(folder: Path, export: Path) -> None:
    run = small_run.make(folder, name=NAME, image_size=IMAGE_SIZE, weights="shipped", alpha=1.0)
    files = {
        "images": run.images,
        "manifest": run.manifest,
        "features": run.features,
        "head": run.head,
        "model": run.head,
        "predictions": folder / "predictions.csv",
        "metrics": folder / "metrics.json",
        "confusion": folder / "confusion.csv",
        "calibration": folder / "calibration.csv",
        "run_statistics": folder / "run_statistics",
    }
    done = small_run.stage(run, "evaluate", {}, **files)
    assert done.returncode == 0, done.stderr
    write_rejected(folder / "rejected.csv", frame([REJECTED_FILE], REJECTED))
    write_epochs(folder / "fine_tune_epochs.csv", frame([], EPOCHS))
    shutil.copytree(export, folder / "data" / "export")
    write_images(folder / "images.csv", read_split(run.manifest)[list(IMAGES)])
    write_groups(folder / "groups.csv", {})
    new_images(
        folder / "today", 24, change=lambda image: image.point(lambda value: 128 + value // 2)
    )
    commands = {
        "download": {"rejected": folder / "rejected.csv", "manifest": folder / "images.csv"},
        "find_duplicates": {"groups": folder / "groups.csv"},
        "train_head": {"features": run.features, "epoch_history": folder / "head_epochs.csv"},
        "fine_tune": {
            "features": run.features,
            "backbone_folder": run.backbone,
            "head": run.head,
            "epoch_history": folder / "fine_tune_epochs.csv",
        },
        "evaluate": files,
        "export": {"export_folder": folder / "data" / "export"},
    }
    stages = {
        name: {"cmd": f"python -m stages.{name} {_words(paths, folder)}"}
        for name, paths in commands.items()
    }
    with (folder / "dvc.yaml").open("w", encoding="utf-8") as file:
        YAML().dump({"stages": stages}, file)
    (folder / "leaf.png").write_bytes(models.colored("green"))
    (folder / "empty.png").write_bytes(b"")
    prepare = (
        "import headstart as hs; hs.FeatureExtractor().get_feature_names_out();"
        f"hs.FeatureExtractor({NAME!r}, image_size={IMAGE_SIZE}).get_feature_names_out()"
    )
    subprocess.run([sys.executable, "-c", prepare], cwd=ROOT, check=True)


def _words(paths: dict[str, Path], folder: Path) -> str:
    return " ".join(
        f"--{name.replace('_', '-')} {path.relative_to(folder)}" for name, path in paths.items()
    )
