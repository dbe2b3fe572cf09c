"""The tables of `headstart doctor`: installed packages, and the locations of the caches."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from headstart._utils.disk import amount
from headstart._utils.extras import absent_packages, install_command
from headstart._utils.machine import architecture, cores
from headstart.backbones.downloads import keras_home
from headstart.features.store import store_folder
from headstart.sources.fetched import downloads_folder

_PACKAGES = ("headstart", "dvc", "prefect", "tensorflow", "keras", "ai-edge-litert", "numpy")

Rows = list[tuple[str, str]]


def versions() -> Rows:
    """Return programs and packages with their versions."""
    python = f"{platform.python_version()} ({sys.executable})"
    system = f"{platform.system()} {platform.release()}, {architecture()}, {cores()} cores"
    rows = [("system", system), ("Python", python), ("git", shutil.which("git") or "not found")]
    return [*rows, *((name, _version(name)) for name in _PACKAGES)]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def extras() -> Rows:
    """Return the extras, and what is missing of each with the command that installs it."""
    return [
        (
            name,
            f"not installed: {', '.join(absent)} (`{install_command(name)}`)"
            if absent
            else "installed",
        )
        for name, absent in absent_packages().items()
    ]


def caches(dvc_cache: Path | None) -> list[tuple[str, str, str]]:
    """Return the caches: name, size and folder.

    Parameters
    ----------
    dvc_cache : Path or None
        The folder of DVC's cache, in a project.
    """
    folders = {
        "feature store": store_folder(),
        "downloads": downloads_folder(),
        "Keras' weights": keras_home() / "models",
    }
    if dvc_cache is not None:
        folders = {"DVC's cache": dvc_cache, **folders}
    return [
        (name, amount(size_of(path)) if path.is_dir() else "none yet", str(path))
        for name, path in folders.items()
    ]


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder, links not followed."""
    return sum(_sizes(folder))


def _sizes(folder: Path) -> Iterator[int]:
    for inside, _, names in os.walk(folder):
        for name in names:
            try:
                yield os.lstat(os.path.join(inside, name)).st_size  # noqa: PTH118 - a million files
            except OSError:
                continue
