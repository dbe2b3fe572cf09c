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
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from stages.core.cache import cache_folder
from stages.core.errors import HeadstartError
from stages.core.files import atomic_folder, sha256_tree, write_text
from stages.core.hub import GRAPH, is_address, short_name
from stages.nets.fetch import DownloadError, download

#: Bytes and files that a module may hold: the largest on TensorFlow Hub have under 4 GB.
MAX_BYTES = 8 << 30
MAX_FILES = 10_000
#: A module that unpacks to more than this, and to so many times its size, is a bomb.
_SMALL, _MAX_RATIO = 10_000_000, 200
_CHUNK = 1 << 20


def modules_folder() -> Path:
    """Where fetched modules are kept: ``$TFHUB_CACHE_DIR``, else the folder of Headstart."""
    given = os.environ.get("TFHUB_CACHE_DIR")
    return Path(given).expanduser().absolute() if given else cache_folder() / "tfhub_modules"


def obtain_module(handle: str, sha256: str | None, target: Path) -> str:
    """Copy a module's files into a folder that does not exist yet.

    Parameters
    ----------
    handle : str
        As :func:`stages.core.hub.fit_handle` accepts it.
    sha256 : str or None
        Of the module's files (:func:`stages.core.files.sha256_tree`); None: any.
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
            f"The module {short_name(handle)} is not the one that `backbone.weights_sha256` "
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
    if (place / GRAPH).is_file():
        return place
    # Beside the folder and not in it: everything in there belongs to the module.
    archive = place.with_name(f"{place.name}.{os.getpid()}.tar.gz")
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
        download(_compressed(handle), archive, most=MAX_BYTES)
        with atomic_folder(place) as folder:
            _unpack(archive, folder, handle)
        # As tensorflow_hub does, so that a person can tell the folders apart.
        write_text(place.with_name(f"{place.name}.descriptor.txt"), f"Handle: {handle}\n")
    except DownloadError as error:
        raise HeadstartError(
            f"The module could not be fetched: {error}\n"
            f"  from    {handle}\n"
            f"  folder  {place}\n"
            "Nothing was kept. Without a network: fetch it elsewhere (its page has a download "
            "button; or add `?tf-hub-format=compressed` to the address), and either unpack the "
            ".tar.gz into that folder (TFHUB_CACHE_DIR moves it), or set `backbone.hub` to the "
            ".tar.gz or to a folder that it is unpacked in. `headstart show module PATH` prints "
            "what params.yaml needs then."
        ) from error
    except OSError as error:
        raise HeadstartError(
            f"The module {handle} could not be kept in {place.parent}: {error}. Make room, or let "
            "TFHUB_CACHE_DIR name another folder; then run again."
        ) from error
    finally:
        archive.unlink(missing_ok=True)
    return place


def _compressed(handle: str) -> str:
    """The address of the .tar.gz: every host of modules answers to this query."""
    parts = urlsplit(handle)
    if parts.path.endswith((".tar.gz", ".tgz")):
        return handle
    query = [*parse_qsl(parts.query), ("tf-hub-format", "compressed")]
    return urlunsplit(parts._replace(query=urlencode(query)))


def _copy(source: Path, target: Path, handle: str) -> None:
    """Copy plain files, and follow no link."""
    total = count = 0
    try:
        for folder, folders, files in os.walk(source):
            folders.sort()
            here = target / Path(folder).relative_to(source)
            here.mkdir(parents=True)
            for name in sorted(files):
                path = Path(folder) / name
                if path.is_symlink() or not path.is_file():
                    raise _refused(handle, f"holds {name!r}, which is no plain file")
                total, count = total + path.stat().st_size, count + 1
                _check(handle, total, count)
                shutil.copyfile(path, here / name)
    except OSError as error:
        raise HeadstartError(f"The module {handle} cannot be copied: {error}.") from error


def _unpack(archive: Path, target: Path, handle: str) -> None:
    """Unpack plain files under their own, checked names; a single folder around them is left out.

    Raises
    ------
    HeadstartError
        If a member is a link or a device, leads out of the folder or stands there twice, or too
        much unpacks; nothing is left then.
    """
    packed = archive.stat().st_size
    total = count = 0
    target.mkdir(exist_ok=True)
    try:
        with tarfile.open(archive, "r:*") as members:
            for member in members:
                if member.isdir():
                    continue
                path = PurePosixPath(member.name)
                if not member.isreg() or member.issparse():
                    raise _refused(handle, f"holds {member.name!r}, which is no plain file")
                if path.is_absolute() or ".." in path.parts or "\\" in member.name:
                    raise _refused(handle, f"holds {member.name!r}, which leads out of it")
                total, count = total + member.size, count + 1
                _check(handle, total, count)
                if total > max(_SMALL, _MAX_RATIO * packed):
                    raise _refused(handle, f"unpacks to more than {_MAX_RATIO} times its size")
                _write(members, member, target / path)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, OSError) as error:
        raise HeadstartError(
            f"{short_name(handle)} cannot be unpacked: {error}. Nothing was kept. It may be cut "
            "short, or a page in place of the file: open the address in a browser."
        ) from error
    _unwrap(target)
    if not (target / GRAPH).is_file():
        raise HeadstartError(
            f"{short_name(handle)} is no module: there is no {GRAPH} in it. Nothing was kept. "
            "A module is a folder with that file and a folder `variables`."
        )


def _write(members: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = members.extractfile(member)
    assert stream is not None  # noqa: S101 - a plain file has one; tells mypy
    with path.open("xb") as file:  # x: a name that stands there twice is no honest archive's
        shutil.copyfileobj(stream, file, _CHUNK)


def _unwrap(target: Path) -> None:
    """Move what lies in a single folder one up."""
    inside = list(target.iterdir())
    if len(inside) != 1 or not (inside[0] / GRAPH).is_file():
        return
    aside = target.with_name(f"{target.name}.unwrapped")
    inside[0].rename(aside)
    target.rmdir()
    aside.rename(target)


def _check(handle: str, total: int, count: int) -> None:
    if total > MAX_BYTES:
        raise _refused(handle, f"holds more than {MAX_BYTES:,} bytes")
    if count > MAX_FILES:
        raise _refused(handle, f"holds more than {MAX_FILES:,} files")


def _refused(handle: str, fault: str) -> HeadstartError:
    return HeadstartError(
        f"The module {short_name(handle)} {fault}. Nothing was kept. If you trust where it comes "
        "from, unpack it yourself and set `backbone.hub` to the folder."
    )
