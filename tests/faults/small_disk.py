"""Run stages on a disk that is really full: ``data`` and the cache folder on a small tmpfs.

Runs in a mount namespace of its own (``unshare -Urm``), so that the disk ends with the process.
Prints one line of JSON for each run of a stage.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.faults.project import Project

_SIZE = "256m"
#: Bytes that are free: none, and as many as let a stage begin and not end.
FREE = (0, 64 << 10)


def main(folder: Path) -> None:
    project = Project(folder)
    data, kept = project.folder / "data", folder / "kept"
    shutil.copytree(data, kept, symlinks=True, dirs_exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "none", data], check=True)
    shutil.copytree(kept, data, symlinks=True, dirs_exist_ok=True)
    store = data / "store"
    for stage in project.stages:
        for free in FREE:
            for by_dvc in (True, False):
                project.remove_outputs(stage)
                shutil.rmtree(store, ignore_errors=True)
                (store / f"locks-{os.getuid()}").mkdir(parents=True)
                ballast = fill(data, free)
                variables = {"HEADSTART_CACHE": str(store)}
                ended = project.run(stage, dvc=by_dvc, **variables)
                left = [path for path in project.outputs(stage) if (project.folder / path).exists()]
                ballast.unlink()
                again = project.run(stage, dvc=by_dvc, **variables)
                found = {
                    "stage": stage, "free": free, "by_dvc": by_dvc, "code": ended.code,
                    "said": ended.stderr, "left": left, "again": again.code,
                    "again_said": again.stderr,
                    "same": project.hashes(stage) == project.wanted(stage),
                }  # fmt: skip
                print(json.dumps(found), flush=True)
    project.close()


def fill(folder: Path, free: int) -> Path:
    """Fill the disk of a folder but for some bytes; return the file that fills it."""
    ballast = folder / "ballast"
    size = shutil.disk_usage(folder).free - free
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
    return ballast


if __name__ == "__main__":
    main(Path(sys.argv[1]))
