"""What a source offers: its files by path, and their bytes one after the other."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from stages.core.errors import PictureError


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a source.

    Parameters
    ----------
    path : str
        Where it stands in the source, with ``/`` between folders; unique.
    size : int
        Bytes, as the source declares them.
    refusal : tuple of (reason, detail), or None
        Why it is set aside without being read.
    """

    path: str
    size: int
    refusal: tuple[str, str] | None = None


class Source(Protocol):
    """Where pictures come from."""

    @property
    def origin(self) -> str:
        """The source in words, for messages."""

    @property
    def entries(self) -> Sequence[Entry]:
        """Every file, the refused ones too; nothing is left out."""

    def contents(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes | PictureError]]:
        """The bytes of each wanted path, once, in the source's own order.

        A file that cannot be read comes as the reason instead of its bytes.
        """


def name_fault(path: str) -> str | None:
    """Why a path cannot stand in a manifest; None if it can.

    Control characters would break the lines of a CSV file and of a terminal; names that are no
    UTF-8 could not be written to either.
    """
    if any(unicodedata.category(letter) == "Cc" for letter in path):
        return "the name holds control characters"
    try:
        path.encode()
    except UnicodeEncodeError:
        return "the name is not UTF-8"
    return None


def shown(path: str) -> str:
    """A path with control characters and stray bytes written as escapes, safe to print."""
    return "".join(
        letter if unicodedata.category(letter) not in {"Cc", "Cs"} else _escaped(letter)
        for letter in path
    )


def _escaped(letter: str) -> str:
    code = ord(letter)
    # A byte that is no UTF-8 reached us as a surrogate: say the byte.
    return f"\\x{code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else code:02x}"
