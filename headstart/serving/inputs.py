"""Inputs of a model: files, folders, patterns, addresses and lists, in one order.

Listing reads no image. An input that is known to be unreadable by its name alone carries the
reason: a missing file, a link inside a folder, a pattern without a match.
"""

from __future__ import annotations

import glob
import os
import stat
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headstart._utils.errors import ImageError
from headstart._utils.names import name_fault, shown, without_credentials
from headstart.sources.folder import FolderSource
from headstart.sources.folder_names import unwanted

if TYPE_CHECKING:
    from headstart.downloads.client import RetryPolicy
    from headstart.images.decode import Limits

_ADDRESSES = ("http://", "https://")
_PATTERN = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Input:
    """A candidate image.

    Attributes
    ----------
    name : str
        Shown name: the path as given, or the address without its credentials. Without control
        characters.
    place : str
        The path or the address itself.
    refusal : tuple of (reason, detail), or None
        The reason it cannot be read.
    """

    name: str
    place: str
    refusal: tuple[str, str] | None = None

    @property
    def remote(self) -> bool:
        """Return whether it is a web address."""
        return self.place.startswith(_ADDRESSES)


@dataclass(frozen=True, slots=True)
class Listing:
    """Inputs in the order of the request.

    Attributes
    ----------
    inputs : tuple of Input
    left_out : int
        Hidden files and files of the operating system in the folders, which nobody asked for.
    """

    inputs: tuple[Input, ...]
    left_out: int = 0


def expand(words: Sequence[str], lines: Iterable[str] = ()) -> Listing:
    """Return the files that words name: folders and patterns are expanded, others kept.

    Parameters
    ----------
    words : sequence of str
        A file, a folder (everything below it, sorted by path), a pattern (sorted), an http or https
        address; ``-`` stands for ``lines``.
    lines : iterable of str
        One such word per line; empty lines are skipped.
    """
    found = [one for word in _with_lines(words, lines) for one in _expanded(word)]
    inputs = tuple(one for one in found if one is not None)
    return Listing(inputs, len(found) - len(inputs))


def exists(one: Input) -> bool:
    """Return whether an input may be readable, as far as its name alone tells."""
    try:
        return one.remote or (one.refusal is None and Path(one.place).exists())
    except (OSError, ValueError):  # A name that is too long, or contains NUL.
        return False


def read(one: Input, limits: Limits) -> bytes:
    """Return the bytes of an input.

    Raises
    ------
    ImageError
        If they cannot be read, or are too many.
    """
    if one.refusal:
        raise ImageError(*one.refusal)
    if one.remote:
        return fetch(one.place, limits.max_bytes)
    return read_file(one.place, limits.max_bytes)


def read_file(path: str, max_bytes: int) -> bytes:
    """Return the bytes of a regular file of at most ``max_bytes``.

    Raises
    ------
    ImageError
        ``unreadable``, ``special`` or ``too_large``.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        # Without blocking: a file that has become a pipe must not stop the program.
        descriptor = os.open(path, flags)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - pathlib opens no descriptors
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ImageError("special", "it is a folder, a device, a pipe or a socket")
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise ImageError("unreadable", error.strerror or str(error)) from error
    if len(content) > max_bytes:
        raise ImageError("too_large", f"more than {max_bytes:,} bytes")
    return content


def fetch(url: str, max_bytes: int, policy: RetryPolicy | None = None) -> bytes:
    """Return the body of a web address, which is not kept anywhere.

    Raises
    ------
    ImageError
        ``unreachable``, with the words of the server or the network; ``too_large``.
    """
    from headstart.downloads.client import DownloadError, HttpClient, RetryPolicy, TooLargeError

    # One attempt: an image that does not arrive is reported like any other unreadable one.
    policy = policy or RetryPolicy(attempts=1, connect=10.0, read=20.0, total=60.0)
    try:
        with HttpClient(policy) as client:
            return client.read(url, max_bytes)
    except TooLargeError as error:
        raise ImageError("too_large", str(error)) from error
    except DownloadError as error:
        raise ImageError("unreachable", str(error)) from error


def _with_lines(words: Sequence[str], lines: Iterable[str]) -> Iterable[str]:
    for word in words:
        if word != "-":
            yield word
            continue
        for line in lines:
            text = line.rstrip("\r\n")
            if text:
                yield text


def _expanded(word: str) -> list[Input | None]:
    """Return the inputs that a word names; None for each file that is left out."""
    if not word:  # A shell's empty variable; as a path it would be the whole current folder.
        return [Input("''", word, ("bad_name", "the name is empty"))]
    if not word.startswith(_ADDRESSES):
        path = Path(word)
        try:
            if path.is_dir():
                return _below(path)
            if not path.exists() and _PATTERN & set(word):
                return _matches(word)
        except (OSError, ValueError):  # A name that is too long, or contains NUL.
            pass
    return [_named(word)]


def _named(word: str) -> Input:
    # The user named it, so links are followed. A name that no file can have fails when read.
    fault = name_fault(word)
    name = without_credentials(word) if word.startswith(_ADDRESSES) else word
    return Input(shown(name), word, ("bad_name", fault) if fault else None)


def _matches(pattern: str) -> list[Input | None]:
    # The shell expands its own patterns; these were quoted, or the shell has none.
    found: list[Input | None] = []
    for match in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207 - of any path
        if not Path(match).is_dir():
            found.append(_named(match))
        elif "**" not in pattern:  # `**` names each folder and its files.
            found += _below(Path(match))
    return found or [Input(shown(pattern), pattern, ("unreadable", "no file matches"))]


def _below(folder: Path) -> list[Input | None]:
    found: list[Input | None] = []
    for entry in FolderSource(folder, sys.maxsize).entries:
        name = str(folder / entry.path)
        found.append(None if unwanted(entry.path) else Input(shown(name), name, entry.rejection))
    return found or [Input(shown(str(folder)), str(folder), ("empty", "the folder has no files"))]
