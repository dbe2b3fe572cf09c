"""Check the machine before anything is installed: Python, git, history and disk.

Standard library only, and nothing newer than Python 3.7 understands, so that a wrong Python reaches
its message.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
OLDEST, TOO_NEW = (3, 11), (3, 14)


class Size(NamedTuple):
    """What an installation costs, as measured on Linux x86-64: megabytes and minutes."""

    packages: int
    download_mb: int
    disk_mb: int
    minutes: str


RUN = Size(208, 800, 3000, "2 to 7")
DEV = Size(300, 1150, 3900, "3 to 9")


def faults(root: Path, size: Size, version: tuple[int, int]) -> list[str]:
    """Return what would make the installation or the first run fail, each with its cure.

    Parameters
    ----------
    root : Path
        The clone.
    size : Size
    version : tuple of int
        Of the Python that would run everything: major and minor.
    """
    found = [_python(version), _venv(), _git(root), _space(root, size)]
    return [fault for fault in found if fault]


def _python(version: tuple[int, int]) -> str:
    if OLDEST <= version < TOO_NEW:
        return ""
    return (
        "Headstart needs Python 3.11, 3.12 or 3.13; this is {}.{} ({}). Install one of these, and "
        "name it: `make run PYTHON=/path/to/python3.12`."
    ).format(*version, sys.executable)


def _venv() -> str:
    if all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")):
        return ""
    return (
        "This Python cannot make virtual environments: the module venv or ensurepip is missing. On "
        "Debian and Ubuntu, `sudo apt install python3-venv` adds both."
    )


def _git(root: Path) -> str:
    if shutil.which("git") is None:
        return (
            "There is no `git` on the path, and results are kept in commits. Install git: "
            "https://git-scm.com/downloads."
        )
    done = subprocess.run(
        ["git", "rev-parse", "--show-toplevel"], cwd=str(root), check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode == 0:
        return ""
    if "dubious ownership" in done.stderr:
        return (
            f"git does not trust {root}, because another user owns it. If you do, run `git config "
            f"--global --add safe.directory {root}`."
        )
    return (
        f"{root} has no git history: it was unpacked from a ZIP file, or .git was removed. DVC "
        "needs a git repository. Clone it instead, or start a history here: `git init`, "
        '`git add --all`, `git commit -m "Start"`.'
    )


def _space(root: Path, size: Size) -> str:
    """Check the clone's disk, and that of the installer's cache if it is another one."""
    cache = Path(os.environ.get("UV_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home())
    needed = size.disk_mb - megabytes(root / ".venv")
    disks = {}
    for folder in (cache.absolute(), root):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        disks[there.stat().st_dev] = there
    for folder in disks.values():
        free = shutil.disk_usage(str(folder)).free // 1_000_000
        if free < needed:
            return (
                f"The installation needs {needed:,} MB more on the disk of {folder}, of which "
                f"{free:,} MB is free. Make room there, or use another disk: clone to it, and "
                "name a folder of it in UV_CACHE_DIR."
            )
    return ""


def megabytes(folder: Path) -> int:
    """Return the megabytes below a folder; 0 if there is none."""
    total = 0
    for inside, _, names in os.walk(str(folder)):
        for name in names:
            try:
                total += os.lstat(os.path.join(inside, name)).st_size  # noqa: PTH118 - 60,000 files
            except OSError:
                continue
    return total // 1_000_000


def check(size: Size) -> None:
    """Print the faults and leave with exit code 1, if there are any."""
    found = faults(ROOT, size, (sys.version_info[0], sys.version_info[1]))
    if found:
        lines = "".join(f"  - {fault}\n" for fault in found)
        sys.exit(f"Nothing was installed:\n{lines}Then run this again.")


if __name__ == "__main__":
    os.chdir(str(ROOT))
    check(RUN)
    print("Ready to install.")
