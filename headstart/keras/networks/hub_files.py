"""The files of a TensorFlow Hub module: found, or fetched and unpacked, and copied where asked.

Fetched ones are kept as tensorflow_hub keeps them, so that both find what the other has: unpacked,
in a folder named by the sha1 of the handle, in ``$TFHUB_CACHE_DIR``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from headstart._utils import locks
from headstart._utils.cache import cache_folder
from headstart._utils.errors import HeadstartError, SourceError, UnsafeArchiveError
from headstart._utils.files import atomic_folder, sha256_tree, write_text
from headstart.archives.members import ArchiveLimits
from headstart.archives.tar import TarArchive
from headstart.backbones.parameters import MODULE_GRAPH, handle_name, is_address
from headstart.downloads.client import DownloadError, RetryPolicy
from headstart.downloads.file import download_file

#: Bytes and files that a module may hold: the largest on TensorFlow Hub have under 4 GB.
MAX_BYTES = 8 << 30
MAX_FILES = 10_000
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
    """Unpack a tar file, plain or compressed, without a single folder around the module.

    Raises
    ------
    HeadstartError
        If it is damaged, is no module, or holds what no module needs; nothing is left then.
    """
    limits = ArchiveLimits(
        MAX_BYTES,
        MAX_FILES,
        too_large="the most that a module may have",
        instead="unpack it yourself and set `backbone.hub` to the folder",
    )
    target.mkdir(exist_ok=True)
    try:
        TarArchive(archive, limits, f"The module {handle_name(handle)}").extract(target)
        _unwrap(target)
    except UnsafeArchiveError:
        raise
    except (SourceError, OSError, RecursionError) as error:
        raise HeadstartError(
            f"{handle_name(handle)} cannot be unpacked: {error.__cause__ or error}. Nothing was "
            "kept. It may be cut short, or a page in place of the file: open the address in a "
            "browser."
        ) from error
    if not (target / MODULE_GRAPH).is_file():
        raise HeadstartError(
            f"{handle_name(handle)} is no module: there is no {MODULE_GRAPH} in it. Nothing was "
            "kept. A module is a folder with that file and a folder `variables`."
        )


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
