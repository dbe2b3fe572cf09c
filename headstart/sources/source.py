"""What a source offers: its files by path, and their bytes one after the other."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from headstart._utils.errors import ImageError, SourceError
from headstart._utils.names import name_fault


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
        Why it is rejected without being read.
    """

    path: str
    size: int
    refusal: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a source says of a file: its class, its split or "", its group or ""."""

    label: str
    predefined_split: str
    group: str = ""


class Arrangement(Protocol):
    """Which class and split each file of a source belongs to."""

    def place(self, path: str) -> Assignment | tuple[str, str]:
        """The place of a file, or reason and detail why it has none."""

    def describe(self) -> str:
        """One sentence for the terminal."""


class Source(Protocol):
    """Where images come from."""

    @property
    def origin(self) -> str:
        """The source in words, for messages."""

    @property
    def entries(self) -> Sequence[Entry]:
        """Every file, the refused ones too; nothing is left out."""

    @property
    def arrangement(self) -> Arrangement | None:
        """Classes and splits, where the source itself knows them; None: the folders tell."""

    def contents(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes | ImageError]]:
        """The bytes of each wanted path, once, in the source's own order.

        A file that cannot be read comes as the reason instead of its bytes.
        """


def label_of(name: str) -> str:
    """The class that a name says, in Unicode's composed form (NFC).

    Raises
    ------
    SourceError
        If it cannot be the name of a folder everywhere, as the sample's folders need.
    """
    label = unicodedata.normalize("NFC", name)
    fault = name_fault(label)
    if not label.strip() or label in {".", ".."} or "/" in label or "\\" in label:
        fault = "it is no name of a folder"
    elif len(label.encode("utf-8", "replace")) > 255:
        fault = "it is longer than 255 bytes"
    if fault:
        raise SourceError(
            f"{name!r} cannot be the name of a class: {fault}. Nothing was written. "
            "Rename it and run again."
        )
    return label
