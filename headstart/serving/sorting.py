"""Images copied into one folder a class; what lies there already is never written over."""

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
_LONGEST = 200  # bytes; file systems take 255, and a number and an extension follow
_MOST = 100_000


class Sorter:
    """Copies images into ``folder/CLASS/``.

    Parameters
    ----------
    folder : Path
        Made if it is absent. It may itself be a link, because the user named it.
    classes : sequence of str
        Each gets a folder of its own; images below the threshold go to ``unsure``.

    Raises
    ------
    HeadstartError
        If it cannot be made.
    """

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self.folder = folder
        self._names = folder_names([*classes, UNSURE])
        self._unsure = self._names[-1]
        self._by_class = dict(zip(classes, self._names, strict=False))
        self._made: set[str] = set()
        self.copied = self.there = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _not_written(folder, error) from error

    def add(self, one: Input, said: Answer, content: bytes) -> Path:
        """Copy an image, and say where it lies.

        A file of that name with the same content is left as it is; with another content, the copy
        gets the next number that is free.

        Raises
        ------
        HeadstartError
            If it cannot be written, or the class's folder is a link.
        """
        inside = self._unsure if said.label is None else self._by_class[said.label]
        try:
            self._make(inside)
            return self._write(self.folder / inside, file_name(one, content), content)
        except OSError as error:
            raise _not_written(self.folder / inside, error) from error

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
        raise HeadstartError(f"{folder} holds {_MOST:,} files named like {name} already.")


def folder_names(classes: Sequence[str]) -> list[str]:
    """Names of folders for classes, in their order: valid and distinct on every system."""
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
    """``name`` as a name that any file system takes, inside of one folder."""
    composed = unicodedata.normalize("NFC", name)
    kept = "".join("_" if unicodedata.category(c) in {"Cc", "Cs"} else c for c in composed)
    short = _FORBIDDEN.sub("_", kept).encode()[:_LONGEST].decode(errors="ignore")
    safe = short.strip().rstrip(". ")
    if not safe or safe in {".", ".."}:
        return "_"
    return f"_{safe}" if _RESERVED.fullmatch(safe) else safe


def file_name(one: Input, content: bytes) -> str:
    """The name of the copy: the image's own, made safe, with an extension of an image.

    A file keeps the one that it has; an address only one that images have.
    """
    last = urlsplit(one.place).path if one.remote else one.place.replace("\\", "/")
    if one.remote:
        last = unquote(last)
    stem, extension = os.path.splitext(last.rsplit("/", 1)[-1])  # noqa: PTH122 - of a name
    kind = EXTENSIONS[sniff(content, Limits(max_bytes=len(content)))]
    # A stranger's address must not make an image into what a double click would run or show.
    fine = _IMAGES if one.remote else _ANY
    if not fine.fullmatch(extension):
        stem, extension = f"{stem}{extension}", f".{kind}"
    return f"{safe_name(stem) if stem else 'image'}{extension}"


def _holds(path: Path, content: bytes) -> bool:
    """Whether a file that is there is this image."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size != len(content):
        return False
    return path.read_bytes() == content


def _not_written(path: Path, error: OSError) -> HeadstartError:
    return HeadstartError(
        f"{path} cannot be written: {error.strerror or error}. What was copied before is there. "
        "Make room or name another --out-folder, and run again: copies are not made twice."
    )
