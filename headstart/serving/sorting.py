"""Copy images into a folder, or into one per class, without overwriting any file."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from headstart._utils.errors import HeadstartError
from headstart.images.decode import Limits, sniff
from headstart.images.formats import EXTENSIONS, FORMATS
from headstart.serving.inputs import Input
from headstart.serving.results import UNSURE, Answer

_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
_ANY = re.compile(r"\.[A-Za-z0-9]{1,5}")
_KNOWN = "|".join(extension for row in FORMATS.values() for extension in row.extensions)
_IMAGES = re.compile(rf"\.({_KNOWN})", re.IGNORECASE)
_LONGEST = 200  # bytes; file systems allow 255, and a number and an extension follow
_MOST = 100_000


class Copier:
    """Copy images into a folder.

    Parameters
    ----------
    folder : Path
        Created if it is missing. It may be a link, because the user named it.
    option : str
        The option that names the folder, for messages.

    Raises
    ------
    HeadstartError
        If it cannot be created.
    """

    def __init__(self, folder: Path, option: str) -> None:
        self.folder, self._option = folder, option
        self.copied = self.there = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._not_written(folder, error) from error

    def copy(self, one: Input, content: bytes) -> Path:
        """Copy an image, and return the path of the copy.

        An existing file with the same name and content is kept; if the content differs, the copy
        gets the next free number.

        Raises
        ------
        HeadstartError
            If it cannot be written.
        """
        try:
            return self._write(self.folder, file_name(one, content), content)
        except OSError as error:
            raise self._not_written(self.folder, error) from error

    def report(self) -> str:
        """Return a sentence about the copies."""
        there = f"; there already: {self.there:,}" if self.there else ""
        return f"Copied to {self.folder}: {self.copied:,}{there}."

    def _write(self, folder: Path, name: str, content: bytes) -> Path:
        stem, extension = os.path.splitext(name)  # noqa: PTH122 - of a name, not of a path
        for number in range(1, _MOST):
            path = folder / (name if number == 1 else f"{stem}-{number}{extension}")
            try:
                # EXCL makes a new file or none, and never follows a link.
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
                descriptor = os.open(path, flags, 0o666)
            except FileExistsError:
                if _holds(path, content):
                    self.there += 1
                    return path
                continue
            try:
                with open(descriptor, "wb") as file:  # noqa: PTH123 - pathlib opens no descriptors
                    file.write(content)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            self.copied += 1
            return path
        raise HeadstartError(f"{folder} already holds {_MOST:,} files with names like {name}.")

    def _not_written(self, path: Path, error: OSError) -> HeadstartError:
        return HeadstartError(
            f"{path} cannot be written: {error.strerror or error}. Earlier copies are kept. Make "
            f"room or name another {self._option}, and run again: nothing is copied twice."
        )


class Sorter(Copier):
    """Copy images into ``folder/CLASS/``.

    Parameters
    ----------
    folder : Path
        Created if it is missing. It may be a link, because the user named it.
    classes : sequence of str
        Each gets a folder; images below the threshold go to ``unsure``.

    Raises
    ------
    HeadstartError
        If it cannot be created.
    """

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        super().__init__(folder, "--out-folder")
        self._names = folder_names([*classes, UNSURE])
        self._unsure = self._names[-1]
        self._by_class = dict(zip(classes, self._names, strict=False))
        self._made: set[str] = set()

    def add(self, one: Input, found: Answer, content: bytes) -> Path:
        """Copy an image into the folder of its class, and return the path of the copy.

        Raises
        ------
        HeadstartError
            If it cannot be written, or the class's folder is a link.
        """
        inside = self._unsure if found.label is None else self._by_class[found.label]
        try:
            self._make(inside)
            return self._write(self.folder / inside, file_name(one, content), content)
        except OSError as error:
            raise self._not_written(self.folder / inside, error) from error

    def _make(self, inside: str) -> None:
        if inside in self._made:
            return
        path = self.folder / inside
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise HeadstartError(
                f"{path} is a link or a file; expected a folder, or nothing. Nothing was copied "
                "into it. Move it away, or name another --out-folder."
            )
        path.mkdir(exist_ok=True)
        self._made.add(inside)


def folder_names(classes: Sequence[str]) -> list[str]:
    """Return folder names for classes, in their order: valid and distinct on every system."""
    taken: set[str] = set()
    names = []
    for name in classes:
        safe = wanted = safe_name(name)
        number = 2
        while safe.casefold() in taken:
            safe, number = f"{wanted}-{number}", number + 1
        taken.add(safe.casefold())
        names.append(safe)
    return names


def safe_name(name: str) -> str:
    """Return ``name`` as a file name that is valid on every file system."""
    composed = unicodedata.normalize("NFC", name)
    kept = "".join("_" if unicodedata.category(c) in {"Cc", "Cs"} else c for c in composed)
    short = _FORBIDDEN.sub("_", kept).encode()[:_LONGEST].decode(errors="ignore")
    safe = short.strip().rstrip(". ")
    if not safe or safe in {".", ".."}:
        return "_"
    return f"_{safe}" if _RESERVED.fullmatch(safe) else safe


def file_name(one: Input, content: bytes) -> str:
    """Return the name of the copy: the image's own, made safe, with an extension of an image.

    A file keeps its own extension; an address keeps it only if images have it.
    """
    last = urlsplit(one.place).path if one.remote else one.place.replace("\\", "/")
    if one.remote:
        last = unquote(last)
    stem, extension = os.path.splitext(last.rsplit("/", 1)[-1])  # noqa: PTH122 - of a name
    kind = EXTENSIONS[sniff(content, Limits(max_bytes=len(content)))]
    # An address from elsewhere must not give a copy an extension that a double click would run.
    fine = _IMAGES if one.remote else _ANY
    if not fine.fullmatch(extension):
        stem, extension = f"{stem}{extension}", f".{kind}"
    return f"{safe_name(stem) if stem else 'image'}{extension}"


def _holds(path: Path, content: bytes) -> bool:
    """Return whether an existing file is this image."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size != len(content):
        return False
    return path.read_bytes() == content
