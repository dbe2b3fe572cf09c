"""The files of a TensorFlow Hub module: found, or fetched and unpacked, and copied where asked.

Fetched ones are kept as tensorflow_hub keeps them, so that both find what the other has: unpacked,
in a folder named by the sha1 of the handle, in ``$TFHUB_CACHE_DIR``.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from headstart._utils import locks
from headstart._utils.cache import cache_folder
from headstart._utils.errors import HeadstartError
from headstart._utils.files import atomic_folder, sha256_tree, write_text
from headstart.backbones.parameters import MODULE_GRAPH, handle_name, is_address
from headstart.downloads.client import DownloadError, RetryPolicy
from headstart.downloads.file import download_file

#: Bytes and files that a module may hold: the largest on TensorFlow Hub have under 4 GB.
MAX_BYTES = 8 << 30
MAX_FILES = 10_000
#: A module that unpacks to more than this, and to so many times its size, is a bomb.
_SMALL, _MAX_RATIO = 10_000_000, 200
_CHUNK = 1 << 20
POLICY = RetryPolicy()


def modules_folder() -> Path:
    """Where fetched modules are kept: ``$TFHUB_CACHE_DIR``, else the folder of Headstart."""
    given = os.environ.get("TFHUB_CACHE_DIR")
    return Path(given).expanduser().absolute() if given else cache_folder() / "tfhub_modules"


def copy_module(handle: str, sha256: str | None, target: Path) -> str:
    """Copy a module's files into a folder that does not exist yet.

    Parameters
    ----------
    handle : str
        As :func:`headstart.backbones.parameters.fit_handle` accepts it.
    sha256 : str or None
        Of the module's files (:func:`headstart._utils.files.sha256_tree`); None: any.
    target : Path

    Returns
    -------
    str
        The sha256 of its files.

    Raises
    ------
    HeadstartError
        If it cannot be had, is no module, or not the one that the sha256 names.
    """
    if is_address(handle):
        _copy(_cached(handle), target, handle)
    elif Path(handle).is_dir():
        _copy(Path(handle), target, handle)
    else:
        _unpack(Path(handle), target, handle)
    found = sha256_tree(target)
    if sha256 is not None and found != sha256:
        raise HeadstartError(
            f"The module {handle_name(handle)} is not the one that `backbone.weights_sha256` "
            f"names: expected {sha256}, got {found}. Nothing was written. If it was changed on "
            f"purpose, set `backbone.weights_sha256` to {found}; if not, get the right one again"
            + (f" (delete {_place(handle)}; it is then fetched)." if is_address(handle) else ".")
        )
    return found


def _place(handle: str) -> Path:
    return modules_folder() / hashlib.sha1(handle.encode(), usedforsecurity=False).hexdigest()


def _cached(handle: str) -> Path:
    """The folder of a fetched module; fetched now if it is not there."""
    place = _place(handle)
    if (place / MODULE_GRAPH).is_file():
        return place
    busy = f"Process {{holder}} is fetching {handle_name(handle)}. Waiting for it."
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        # Not beside the folder: tensorflow_hub takes a file that is called so for its own lock.
        with locks.exclusive_lock(locks.lock_folder() / f"hub-{place.name}.lock", busy):
            if not (place / MODULE_GRAPH).is_file():  # fetched meanwhile?
                _fetch(handle, place)
    except DownloadError as error:
        raise HeadstartError(
            f"The module could not be fetched: {error}\n"
            f"  from    {handle_name(handle)}\n"
            f"  folder  {place}\n"
            "Nothing was kept. Without a network: fetch it elsewhere (its page has a download "
            "button; or add `?tf-hub-format=compressed` to the address), and either unpack the "
            ".tar.gz into that folder (TFHUB_CACHE_DIR moves it), or set `backbone.hub` to the "
            ".tar.gz or to a folder that it is unpacked in. `headstart show module PATH` prints "
            "what params.yaml needs then."
        ) from error
    except OSError as error:
        raise HeadstartError(
            f"The module {handle_name(handle)} could not be kept in {place.parent}: {error}. "
            "Make room, or let TFHUB_CACHE_DIR name another folder; then run again."
        ) from error
    return place


def _fetch(handle: str, place: Path) -> None:
    # Beside the folder and not in it, where everything belongs to the module; of one name, so that
    # the next attempt clears away what a killed one left.
    archive = place.with_name(f"{place.name}.tar.gz")
    try:
        download_file(_compressed(handle), archive, max_bytes=MAX_BYTES, policy=POLICY)
        with atomic_folder(place) as folder:
            _unpack(archive, folder, handle)
    finally:
        archive.unlink(missing_ok=True)
    # As tensorflow_hub does, so that a person can tell the folders apart.
    write_text(place.with_name(f"{place.name}.descriptor.txt"), f"Handle: {handle}\n")


def _compressed(handle: str) -> str:
    """The address of the .tar.gz: every host of modules answers to this query."""
    parts = urlsplit(handle)
    if parts.path.endswith((".tar.gz", ".tgz")):
        return handle
    asked = parse_qsl(parts.query, keep_blank_values=True)
    query = [pair for pair in asked if pair[0] != "tf-hub-format"]
    return urlunsplit(parts._replace(query=urlencode([*query, ("tf-hub-format", "compressed")])))


def _copy(source: Path, target: Path, handle: str) -> None:
    """Copy plain files, and follow no link."""
    total = count = 0
    try:
        for folder, folders, files in os.walk(source, onerror=_raise):
            folders.sort()
            here = target / Path(folder).relative_to(source)
            here.mkdir(parents=True)
            for name in (*folders, *sorted(files)):
                path = Path(folder) / name
                if path.is_symlink() or not (path.is_file() or path.is_dir()):
                    raise _refused(handle, f"holds {name!r}, which is no plain file")
                if not name.isprintable():
                    raise _refused(handle, f"holds {name!r}, which is no name for every system")
            for name in sorted(files):
                path = Path(folder) / name
                total, count = total + path.stat().st_size, count + 1
                _check(handle, total, count)
                shutil.copyfile(path, here / name)
    except OSError as error:
        raise HeadstartError(f"The module {handle} cannot be copied: {error}.") from error


def _raise(error: OSError) -> None:
    raise error


def _unpack(archive: Path, target: Path, handle: str) -> None:
    """Unpack plain files under their own, checked names; a single folder around them is left out.

    Raises
    ------
    HeadstartError
        If a member is a link or a device, leads out of the folder or stands there twice, or too
        much unpacks; nothing is left then.
    """
    packed = archive.stat().st_size
    total = 0
    target.mkdir(exist_ok=True)
    try:
        with _opened(archive) as members:
            for count, member in enumerate(members, 1):
                total += abs(member.size)
                _check(handle, total, count)
                if total > max(_SMALL, _MAX_RATIO * packed):
                    raise _refused(handle, f"unpacks to more than {_MAX_RATIO} times its size")
                if not member.isdir():
                    _write(members, member, target / _path(member, handle))
        _unwrap(target)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, OSError, ValueError,
            RecursionError) as error:  # fmt: skip
        raise HeadstartError(
            f"{handle_name(handle)} cannot be unpacked: {error}. Nothing was kept. It may be cut "
            "short, or a page in place of the file: open the address in a browser."
        ) from error
    if not (target / MODULE_GRAPH).is_file():
        raise HeadstartError(
            f"{handle_name(handle)} is no module: there is no {MODULE_GRAPH} in it. Nothing was "
            "kept. A module is a folder with that file and a folder `variables`."
        )


@contextmanager
def _opened(archive: Path) -> Iterator[tarfile.TarFile]:
    """A tar file, plain or of gzip, none of whose headers fills the memory."""
    with archive.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream: Any = gzip.GzipFile(fileobj=file) if packed else file
        # "r:": what is read goes through the bound; the library would open the file by itself.
        with tarfile.open(fileobj=_Bounded(stream), mode="r:") as members:  # type: ignore[call-overload]  # a reader
            yield members


class _Bounded:
    """What tarfile needs of a stream; headers come in one read, and contents in chunks."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.tell, self.seek = stream.tell, stream.seek

    def read(self, size: int) -> bytes:
        """At most a chunk."""
        if size > _CHUNK:
            raise tarfile.ReadError(f"it holds a header of {size:,} bytes")
        return bytes(self._stream.read(size))


def _path(member: tarfile.TarInfo, handle: str) -> PurePosixPath:
    """The name under which a member is written."""
    path = PurePosixPath(member.name)
    if not member.isreg() or member.issparse() or member.size < 0:
        raise _refused(handle, f"holds {member.name!r}, which is no plain file")
    if path.is_absolute() or ".." in path.parts or "\\" in member.name:
        raise _refused(handle, f"holds {member.name!r}, which leads out of it")
    if not member.name.isprintable():
        raise _refused(handle, f"holds {member.name!r}, which is no name for every system")
    return path


def _write(members: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = members.extractfile(member)
    assert stream is not None  # noqa: S101 - a plain file has one; tells mypy
    with path.open("xb") as file:  # x: a name that stands there twice is no honest archive's
        shutil.copyfileobj(stream, file, _CHUNK)


def _unwrap(target: Path) -> None:
    """Leave out folders that hold nothing but one folder with the module, all within the target."""
    while not (target / MODULE_GRAPH).is_file():
        inside = list(target.iterdir())
        if len(inside) != 1 or not inside[0].is_dir():
            return
        # Under another name first: what lies in it may be called as it is.
        around = inside[0].rename(target / ".around")
        for each in around.iterdir():
            each.rename(target / each.name)
        around.rmdir()


def _check(handle: str, total: int, count: int) -> None:
    if total > MAX_BYTES:
        raise _refused(handle, f"holds more than {MAX_BYTES:,} bytes")
    if count > MAX_FILES:
        raise _refused(handle, f"holds more than {MAX_FILES:,} files")


def _refused(handle: str, fault: str) -> HeadstartError:
    return HeadstartError(
        f"The module {handle_name(handle)} {fault}. Nothing was kept. If you trust where it comes "
        "from, unpack it yourself and set `backbone.hub` to the folder."
    )
