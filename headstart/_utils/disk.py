"""Free disk space, checked before the work and not after it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from headstart._utils.errors import HeadstartError

#: Space that is left to others: a tenth of what is needed, at least this.
_LEAST_MARGIN = 32 << 20


def require_room(needs: Mapping[Path, int], what: str, remedy: str) -> None:
    """Refuse to start work that would fill a disk.

    Parameters
    ----------
    needs : mapping of Path to int
        Folders, which need not exist yet, and the bytes to be written to each. Folders on one
        disk are added up.
    what : str
        The subject of the message: "The activations …".
    remedy : str
        A sentence: what to do if there is too little space.

    Raises
    ------
    HeadstartError
        With the needed and the free space, and the folder.
    """
    disks: dict[int, tuple[Path, int]] = {}
    for folder, size in needs.items():
        there = _existing(folder)
        device = there.stat().st_dev
        first, before = disks.get(device, (folder, 0))
        disks[device] = first, before + size
    for folder, size in disks.values():
        if not size:
            continue
        needed = size + max(size // 10, _LEAST_MARGIN)
        free = shutil.disk_usage(_existing(folder)).free
        if free < needed:
            raise HeadstartError(
                f"{what} need {amount(needed)} on the disk of {folder}, of which {amount(free)} "
                f"are free. Nothing was computed. {remedy}"
            )


def amount(size: int) -> str:
    """Return a number of bytes for people: ``1.2 GB``."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"


def _existing(folder: Path) -> Path:
    """Return the folder, or the first one above it that exists."""
    folder = folder.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder
