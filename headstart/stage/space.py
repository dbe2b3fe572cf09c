"""Disk space for a stage's outputs: asked for before the work, and explained when it runs out.

DVC copies outputs into its cache after the stage has ended. If the disk of the cache is full, it
prints an error that names no folder, and ends with the exit code 0.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from headstart._utils.disk import (
    DiskFault,
    amount,
    disk_fault,
    existing_folder,
    free_space,
    require_room,
)
from headstart._utils.errors import HeadstartError
from headstart._utils.files import size_below
from headstart.stage.recorded_inputs import dvc_cache, recorded_sizes

_CURE = (
    "Make room there, or move DVC's cache to another disk (`dvc cache dir FOLDER`); then run again."
)
_FICLONE = 0x40049409  # Linux: let a file share another one's blocks
_needed: dict[Path, int] = {}  # by the estimates of this process, for a message


def require_space(outputs: Mapping[Path, int]) -> None:
    """Refuse to start work whose outputs would fill a disk, that of DVC's cache included.

    Parameters
    ----------
    outputs : mapping of Path to int
        Files and folders that will be written, and their estimated bytes.

    Raises
    ------
    HeadstartError
        With the needed and the free space, and the folders.
    """
    _needed.update(outputs)
    needs: dict[Path, int] = {}
    for path, size in outputs.items():
        folder = path.absolute().parent
        needs[folder] = needs.get(folder, 0) + size
        cache = _copying_cache(folder)
        if cache is not None:
            needs[cache] = needs.get(cache, 0) + size
    require_room(needs, "The outputs", _CURE)


def require_recorded_space(outputs: Iterable[Path]) -> None:
    """Refuse the stage's outputs in the same way, by the sizes of its former outputs."""
    sizes = recorded_sizes()
    require_space({path: sizes[path] for path in outputs if path in sizes})


def require_cache_space(outputs: Iterable[Path]) -> None:
    """Refuse outputs that DVC could not copy into its cache.

    Raises
    ------
    HeadstartError
        Naming the cache.
    """
    for path in outputs:
        cache = _copying_cache(path.parent)
        if cache is None:
            continue
        size = size_below(path)
        free = free_space(cache)
        if size > free:
            raise HeadstartError(
                f"DVC cannot keep {path}: it copies {amount(size)} to its cache, {cache}, where "
                f"{amount(free)} is free. The stage was not recorded. {_CURE}"
            )


def explained(error: BaseException, outputs: Iterable[Path]) -> HeadstartError | None:
    """Return the error to raise for a disk that is full, failing or not permitted; else None."""
    fault = disk_fault(error)
    if fault is None:
        return None
    paths = list(outputs)
    if fault.file is None and paths:
        fault = DiskFault(paths[0], fault.number)
    kept = (
        "The outputs of this stage were not recorded; the feature store and the checkpoints are "
        "kept."
    )
    if fault.denied:
        return HeadstartError(
            f"{fault.sentence()} {kept} Make it readable and writable for the user who runs the "
            "stage (`ls -ld` shows the owner: `chown`, `chmod`); or name another cache folder "
            "(environment variable HEADSTART_CACHE) if it is there. Then run again."
        )
    if not fault.full:
        return HeadstartError(
            f"{fault.sentence()} {kept} See whether the disk is sound and mounted for writing "
            "(`dmesg`, `mount`); or move the project, the cache folder (environment variable "
            "HEADSTART_CACHE) or temporary files (TMPDIR) to another disk. Then run again."
        )
    need = sum(_needed.get(path, 0) for path in paths)
    needed = f" The outputs need about {amount(need)}." if need else ""
    return HeadstartError(
        f"{fault.sentence()}{needed} {kept} Make room there, or move DVC's cache (`dvc cache dir "
        "FOLDER`), the feature store (environment variable HEADSTART_CACHE) or temporary files "
        "(TMPDIR) to another disk; then run again."
    )


def _copying_cache(folder: Path) -> Path | None:
    """Return DVC's cache if DVC copies files of a folder to it; None if it moves or links them."""
    cache = dvc_cache()
    if cache is None:
        return None
    there, here = existing_folder(cache), existing_folder(folder)
    same = there.stat().st_dev == here.stat().st_dev
    return None if same and _clones(here) else cache


def _clones(folder: Path) -> bool:
    """Return True if files there can share blocks, as DVC prefers it."""
    try:
        import fcntl

        with tempfile.TemporaryFile(dir=folder) as one, tempfile.TemporaryFile(dir=folder) as two:
            one.write(b"x")
            one.flush()
            fcntl.ioctl(two.fileno(), _FICLONE, one.fileno())
    except (OSError, ImportError):
        return False
    return True
