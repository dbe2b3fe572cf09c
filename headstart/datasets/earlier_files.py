"""Files that an earlier run wrote: one with the same content is copied from DVC's cache.

DVC deletes a stage's outputs before it runs the stage, but keeps them in its cache under the MD5 of
their bytes. What decides the bytes of a shard or of a part of the features is known before it is
written, so the MD5 is recorded by that. DVC trusts a damaged file of its cache, so the file's own
MD5 is compared first (:mod:`headstart._utils.stamps`).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from headstart._utils.files import md5_file, sha256_bytes
from headstart._utils.memo import Memo
from headstart._utils.stamps import RecordedHashes, stamp


class EarlierFiles:
    """The files of one kind in a cache of DVC.

    Parameters
    ----------
    cache : Path or None
        DVC's cache; None: nothing is found or recorded.
    kind : str
        Name of a folder in the cache folder, where the MD5 are recorded.
    rule : int
        Number of the rule by which such a file is written: another one gives other bytes.
    """

    def __init__(self, cache: Path | None, kind: str, rule: int) -> None:
        self._objects = None if cache is None else cache.absolute() / "files" / "md5"
        self._memo = Memo(kind, {"writer": rule})
        self._hashes = RecordedHashes("md5")
        self._found: dict[bytes, Path] = {}
        self._new: dict[bytes, bytes] = {}

    def find(self, listed: Sequence[str]) -> Path | None:
        """Return an intact file with exactly the listed content; None if there is none."""
        if self._objects is None:
            return None
        key = _key(listed)
        if key not in self._found:
            md5 = (self._memo.get(key) or b"").hex()
            path = self._objects / md5[:2] / md5[2:]
            if not md5 or not path.is_file() or self._md5(path) != md5:
                return None
            self._found[key] = path
        return self._found[key]

    def copy(self, listed: Sequence[str], target: Path) -> bool:
        """Copy the file with exactly the listed content, if there is one."""
        found = self.find(listed)
        if found is not None:
            shutil.copyfile(found, target)
        return found is not None

    def record(self, listed: Sequence[str], written: Path) -> None:
        """Note the MD5 of a file that was written."""
        if self._objects is not None:
            self._new[_key(listed)] = bytes.fromhex(md5_file(written))

    def save(self) -> None:
        """Record what was noted."""
        self._memo.put_many(self._new.items())
        self._new.clear()
        self._memo.close()
        self._hashes.save()

    def _md5(self, path: Path) -> str:
        name, now = str(path), stamp(path.stat())
        known = self._hashes.known({name: now})
        if name not in known:
            known[name] = md5_file(path)
            self._hashes.add(name, now, known[name])
        return known[name]


def _key(listed: Sequence[str]) -> bytes:
    return bytes.fromhex(sha256_bytes("\n".join(listed).encode()))
