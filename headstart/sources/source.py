"""The protocol of a source: its files by path, and their bytes one after the other."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from headstart._utils.errors import ImageError, SourceError
from headstart._utils.names import name_fault
from headstart._utils.stamps import Stamp


@dataclass(frozen=True, slots=True)
class Assignment:
    """The class of a file, its predefined split or "", and its group or ""."""

    label: str
    predefined_split: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A file whose change is noticed without reading it.

    Parameters
    ----------
    path : str
        Absolute path, or the address of an object.
    stamp : Stamp
        What the file system or the server records about it.
    by : str
        The same in words.
    """

    path: str
    stamp: Stamp
    by: str = "size, times and inode"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a source.

    Parameters
    ----------
    path : str
        Its path in the source, with ``/`` between folders; unique.
    size : int
        Bytes, as the source declares them.
    rejection : tuple of (reason, detail), or None
        Why it is rejected without being read.
    assignment : Assignment or None
        Class and splits, if the source itself states them; None: its folders decide.
    file : Recorded or None
        The file or object that holds nothing but its bytes, if there is one.
    """

    path: str
    size: int
    rejection: tuple[str, str] | None = None
    assignment: Assignment | None = None
    file: Recorded | None = field(default=None, compare=False)


class Source(Protocol):
    """A source of images."""

    @property
    def origin(self) -> str:
        """The source in words, for messages."""

    @property
    def entries(self) -> Sequence[Entry]:
        """Every file, including those that are rejected; nothing is left out."""

    @property
    def summary(self) -> str:
        """The assignments that the source states, in a sentence; "" if its folders decide."""

    def contents(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes | ImageError]]:
        """Yield the bytes of each wanted path, once, in the source's own order.

        For a file that cannot be read, the reason comes instead of the bytes.
        """


def label_of(name: str) -> str:
    """Return the class of a name: in Unicode's composed form (NFC), without white space around it.

    Raises
    ------
    SourceError
        If it cannot be the name of a folder everywhere, which the sample's folders need.
    """
    label = unicodedata.normalize("NFC", name).strip()
    fault = name_fault(label)
    if not label or label in {".", ".."} or "/" in label or "\\" in label:
        fault = "it cannot be the name of a folder"
    elif not any(sign.isprintable() and not sign.isspace() for sign in label):
        fault = fault or "all of its characters are invisible"
    elif len(label.encode("utf-8", "replace")) > 255:
        fault = "it is longer than 255 bytes"
    if fault:
        raise SourceError(
            f"{name!r} cannot be the name of a class: {fault}. Nothing was written. "
            "Rename it and run again."
        )
    return label
