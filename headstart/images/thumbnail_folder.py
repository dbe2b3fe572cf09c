"""Small images of files that were rejected, for people: one JPEG each, found by the file's path.

Names are made from the path's hash: a stranger's file name never becomes one of ours. ``index.csv``
says which is whose.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd

from headstart._utils.files import sha256_bytes, write_bytes, write_text

INDEX = "index.csv"
_EACH = 12  # of one reason
_DIGITS = 32


class Album:
    """Collects small images, the first few of every reason.

    Parameters
    ----------
    folder : Path
        Where they are written; it must exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._counts: Counter[str] = Counter()
        self._paths: list[str] = []

    def wants(self, reason: str) -> bool:
        """Whether there is room for one more of this reason."""
        return self._counts[reason] < _EACH

    def add(self, path: str, reason: str, image: bytes) -> None:
        """Keep the small image (a JPEG) of the file that stood at ``path``."""
        self._counts[reason] += 1
        self._paths.append(path)
        write_bytes(self._folder / _name(path), image)

    def close(self) -> None:
        """Write the index, also of nothing."""
        paths = sorted(self._paths)
        table = pd.DataFrame({"image": [_name(path) for path in paths], "path": paths}, dtype=str)
        write_text(self._folder / INDEX, table.to_csv(index=False, lineterminator="\n"))


def find(folder: Path, path: str) -> bytes | None:
    """The small image of the file that stood at ``path``; None if there is none."""
    file = folder / _name(path)
    return file.read_bytes() if file.is_file() else None


def _name(path: str) -> str:
    return sha256_bytes(path.encode("utf-8", "surrogateescape"))[:_DIGITS] + ".jpg"
