"""The environment of an import: made once in the cache folder, outside of Headstart's packages.

KerasHub cannot be installed beside Headstart: it asks for other versions of packages that the
pipeline pins. So it gets an environment of its own, with packages of fixed versions, in which one
script runs (:mod:`headstart.keras.importing.keras_hub_preset`).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from headstart._utils import locks
from headstart._utils.cache import cache_folder, made_cache_folder
from headstart._utils.errors import HeadstartError
from headstart._utils.files import read_json, sha256_bytes, write_json
from headstart.keras.importing.presets import PACKAGES

SCRIPT = Path(__file__).with_name("keras_hub_preset.py")
#: Written when every package is installed.
_COMPLETE = "headstart.json"
_ENVIRONMENTS = "environments"
_SHOWN = 2000  # letters of what a process printed
_REFUSED = "REFUSED: "
#: Rough size on the disk.
GIGABYTES = 2.1

Say = Callable[[str], None]


def location() -> Path:
    """Return the folder of the environment for these packages and this Python."""
    key = json.dumps([PACKAGES, sys.version_info[:2]])
    return cache_folder() / _ENVIRONMENTS / f"keras-hub-{sha256_bytes(key.encode())[:16]}"


def obtain(say: Say) -> Path:
    """Return the Python of the environment, which is made if it is absent or incomplete.

    Raises
    ------
    HeadstartError
        If it cannot be made.
    """
    folder = location()
    made_cache_folder(_ENVIRONMENTS)
    busy = "Another process ({holder}) is making the environment for imports. Waiting …"
    with locks.exclusive_lock(folder.with_name(f"{folder.name}.lock"), busy):
        if not (folder / _COMPLETE).is_file():
            shutil.rmtree(folder, ignore_errors=True)
            say(
                f"Making an environment with KerasHub (once; about {GIGABYTES:g} GB, kept in "
                f"{folder}) …"
            )
            _make(folder)
            write_json(folder / _COMPLETE, {"packages": list(PACKAGES)})
    return _python(folder)


def run(python: Path, task: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run the script on a task in the environment.

    Parameters
    ----------
    python : Path
    task : dict
        JSON values; ``target`` is the folder of the SavedModel.
    folder : Path
        Empty folder for what is exchanged; ``target`` lies in it.

    Returns
    -------
    dict
        What the script found out.

    Raises
    ------
    HeadstartError
        If the preset cannot be obtained or imported.
    """
    write_json(folder / "task.json", task)
    # -E and -s: no package of this Python, or of the user, is found there.
    done = _process([str(python), "-E", "-s", str(SCRIPT), str(folder / "task.json")])
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    last = lines[-1] if lines else f"exit code {done.returncode}"
    what = task["handle"] or task["architecture"]["class"]
    if last.startswith(_REFUSED):
        raise HeadstartError(f"{what} was not imported: {last.removeprefix(_REFUSED)}.")
    if done.returncode:
        raise HeadstartError(
            f"{what} could not be imported. KerasHub says: {last[:_SHOWN]}\nNothing was written. "
            "Without a network, download the preset elsewhere and name its folder "
            "(`headstart import-backbone keras_hub:FOLDER`), or try the pipeline with "
            "`--random-weights`."
        )
    found: dict[str, Any] = read_json(folder / "found.json")
    return found


def _make(folder: Path) -> None:
    """Make the environment by uv, or by venv and pip where there is no uv."""
    uv = _uv()
    python = str(_python(folder))
    if uv is None:
        steps = [
            [sys.executable, "-m", "venv", str(folder)],
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"],
        ]
    else:
        steps = [
            [uv, "venv", "--quiet", "--no-project", "--python", sys.executable, str(folder)],
            [uv, "pip", "install", "--quiet", "--no-deps", "--python", python],
        ]
    steps[1] += PACKAGES
    for step in steps:
        done = _process(step)
        if done.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            raise HeadstartError(
                f"The environment for imports could not be made (`{' '.join(step[:4])} …` ended "
                f"with {done.returncode}):\n{done.stderr.strip()[-_SHOWN:]}\nNothing was kept. "
                "Packages come from the index that pip or uv is set to use; "
                f"about {GIGABYTES:g} GB must be free."
            )


def _uv() -> str | None:
    """Return uv, on the path or beside this Python."""
    beside = Path(sys.executable).with_name("uv")
    return shutil.which("uv") or (str(beside) if os.access(beside, os.X_OK) else None)


def _python(folder: Path) -> Path:
    windows = folder / "Scripts" / "python.exe"
    return windows if sys.platform == "win32" else folder / "bin" / "python"


def _process(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    # A virtual environment of the user must not lead uv or pip elsewhere.
    without = {"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "CONDA_PREFIX"}
    environment = {name: value for name, value in os.environ.items() if name not in without}
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=False, env=environment
    )
