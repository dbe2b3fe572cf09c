"""Recorded hashes of files, trusted while the file system's record of a file is unchanged.

DVC trusts the hashes of its own database in the same way.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from headstart._utils.memo import Memo, verifying

_YOUNG = 2_000_000_000  # ns; the coarsest file systems count time in steps of 2 s
_NUMBERS = struct.Struct("<4q")


class Stamp(NamedTuple):
    """The file system's record of a file; ``ctime`` cannot be set back, unlike ``mtime``."""

    size: int
    mtime: int
    ctime: int
    inode: int

    def settled(self, now: int) -> bool:
        """Return whether the times were so old at ``now`` (ns) that a later write changes them."""
        return max(self.mtime, self.ctime) < now - _YOUNG


def stamp(status: os.stat_result) -> Stamp:
    """Return the stamp of a file from its status."""
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def version_stamp(size: int, version: str) -> Stamp:
    """Return the stamp of something whose content is named by a version instead of times."""
    digest = hashlib.sha256(version.encode("utf-8", "surrogateescape")).digest()
    return Stamp(size, 0, 0, int.from_bytes(digest[:8], "big") >> 1)


class RecordedHashes:
    """The hashes of files by name, each with the stamp that the file had before it was read.

    Make it before any file is read: only a stamp that was settled then is used. With
    ``HEADSTART_VERIFY``, none is trusted, and all are recorded again.

    Parameters
    ----------
    algorithm : str
        A name of hashlib.
    place : str
        The folder that names are relative to; "" for absolute names.
    """

    def __init__(self, algorithm: str, place: str = "") -> None:
        self._memo = Memo(algorithm, {"place": place})
        self._bytes = hashlib.new(algorithm, usedforsecurity=False).digest_size
        self._new: dict[str, bytes] = {}
        self._now = time.time_ns()

    def known(self, stamps: Mapping[str, Stamp]) -> dict[str, str]:
        """Return the hex hash of each file that has the recorded stamp, and a settled one."""
        if verifying() or not stamps:
            return {}
        names = {
            os.fsencode(name): name for name, each in stamps.items() if each.settled(self._now)
        }
        found = {}
        for key, value in self._memo.get_many(names).items():
            name, digest = names[key], value[_NUMBERS.size :]
            if value[: _NUMBERS.size] == _packed(stamps[name]) and len(digest) == self._bytes:
                found[name] = digest.hex()
        return found

    def add(self, name: str, stamp: Stamp, digest: str) -> None:
        """Note the hex hash of a file, with its stamp from before it was read."""
        if stamp.settled(self._now):
            self._new[name] = _packed(stamp) + bytes.fromhex(digest)

    def forget(self, names: Iterable[str]) -> None:
        """Discard the recorded hashes of these files."""
        self._memo.put_many((os.fsencode(name), b"") for name in names)

    def save(self) -> None:
        """Record what was noted."""
        new, self._new = self._new, {}
        self._memo.put_many((os.fsencode(name), value) for name, value in new.items())
        self._memo.close()


def _packed(stamp: Stamp) -> bytes:
    return _NUMBERS.pack(*(each & 0x7FFFFFFFFFFFFFFF for each in stamp))
