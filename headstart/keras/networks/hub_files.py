"""The files of a TensorFlow Hub module: found, or downloaded and unpacked, then copied.

tensorflow_hub finds every module through the resolver of this module, which bounds, retries and
locks downloads and checks what it unpacks. Its own resolver tries once and unpacks what it gets.
Downloads are kept as tensorflow_hub keeps them, so that each finds what the other has: unpacked, in
a folder named by the SHA-1 of the handle, in ``$TFHUB_CACHE_DIR``.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import headstart.keras.runtime  # noqa: F401 - sets TensorFlow up before tensorflow_hub imports it
from headstart._utils import locks
from headstart._utils.errors import HeadstartError, SourceError, UnsafeArchiveError
from headstart._utils.files import atomic_folder, sha256_file, sha256_tree, write_text
from headstart._utils.quiet import quiet_stderr
from headstart.archives.members import ArchiveLimits
from headstart.archives.tar import TarArchive
from headstart.backbones.downloads import module_location, modules_folder
from headstart.backbones.parameters import MODULE_GRAPH, handle_name, is_address
from headstart.downloads.client import DownloadError, RetryPolicy
from headstart.downloads.file import download_file

with warnings.catch_warnings(), quiet_stderr():
    # It imports pkg_resources, for one comparison of versions.
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    import tensorflow_hub

#: Bytes and files that a module may hold: the largest on TensorFlow Hub have under 4 GB.
MAX_BYTES = 8 << 30
MAX_FILES = 10_000
POLICY = RetryPolicy()


class ModuleResolver(tensorflow_hub.resolver.Resolver):  # type: ignore[misc]  # it has no types
    """Find the folder of every module that tensorflow_hub is asked for."""

    def is_supported(self, handle: str) -> bool:  # noqa: ARG002 - the interface has it
        """Return True: no handle is left to the resolvers of tensorflow_hub."""
        return True

    def __call__(self, handle: str) -> str:
        """Return the folder of a module, downloaded or unpacked first where it is not there.

        Raises
        ------
        HeadstartError
            If it cannot be obtained, or is not a module.
        """
        if is_address(handle):
            return str(_downloaded(handle))
        path = Path(handle)
        return str(_unpacked(path)) if path.is_file() else handle


tensorflow_hub.registry.resolver.add_implementation(ModuleResolver())


def load_module(folder: Path) -> Any:
    """Load a module's files by ``tensorflow_hub.load``."""
    with quiet_stderr():
        return tensorflow_hub.load(str(folder))


def copy_module(handle: str, sha256: str | None, target: Path) -> str:
    """Copy a module's files into a folder that does not exist yet.

    Parameters
    ----------
    handle : str
        As :func:`headstart.backbones.parameters.fit_handle` accepts it.
    sha256 : str or None
        Of the module's files (:func:`headstart._utils.files.sha256_tree`); None accepts any.
    target : Path

    Returns
    -------
    str
        The SHA-256 of its files.

    Raises
    ------
    HeadstartError
        If it cannot be obtained, is not a module, or not the one that the SHA-256 names.
    """
    _copy(Path(tensorflow_hub.resolve(handle)), target, handle)
    found = sha256_tree(target)
    if sha256 is not None and found != sha256:
        raise HeadstartError(
            f"The module {handle_name(handle)} is not the one that `backbone.weights_sha256` "
            f"names: expected {sha256}, got {found}. Nothing was written. If it was changed on "
            f"purpose, set `backbone.weights_sha256` to {found}; if not, get the right one again"
            + (
                f" (delete {module_location(handle)}, and it is downloaded again)."
                if is_address(handle)
                else "."
            )
        )
    return found


def _downloaded(handle: str) -> Path:
    """Return the folder of a module with an address, downloaded now if it is not there."""
    folder = module_location(handle)
    name = handle_name(handle)
    try:
        with _absent(
            folder, f"Process {{holder}} is downloading {name}. Waiting for it."
        ) as absent:
            if absent:
                _download(handle, folder)
    except DownloadError as error:
        advice = f" {error.advice}" if error.advice else ""
        raise HeadstartError(
            f"The module could not be downloaded: {error}.{advice}\n"
            f"  from    {name}\n"
            f"  folder  {folder}\n"
            "Nothing was kept. Without a network: download it elsewhere (its page has a download "
            "button; or add `?tf-hub-format=compressed` to the address), and either unpack the "
            ".tar.gz into that folder (TFHUB_CACHE_DIR moves it), or set `backbone.hub` to the "
            ".tar.gz or to a folder where it is unpacked. `headstart show module PATH` prints "
            "what params.yaml needs then."
        ) from error
    return folder


def _unpacked(archive: Path) -> Path:
    """Return the folder of a module in an archive on this machine, unpacked now if it is not."""
    folder = modules_folder() / sha256_file(archive)
    busy = f"Process {{holder}} is unpacking {archive.name}. Waiting for it."
    with _absent(folder, busy) as absent:
        if absent:
            with atomic_folder(folder) as inside:
                _unpack(archive, inside, str(archive))
    return folder


@contextmanager
def _absent(folder: Path, busy: str) -> Iterator[bool]:
    """Yield whether a kept module is absent, and keep other processes from adding it meanwhile."""
    if (folder / MODULE_GRAPH).is_file():
        yield False
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Not beside the folder: tensorflow_hub takes a file of that name for its own lock.
        with locks.exclusive_lock(locks.lock_folder() / f"hub-{folder.name}.lock", busy):
            yield not (folder / MODULE_GRAPH).is_file()
    except OSError as error:
        raise HeadstartError(
            f"The module could not be kept in {folder.parent}: {error}. Make room, or let "
            "TFHUB_CACHE_DIR name another folder; then run again."
        ) from error


def _download(handle: str, folder: Path) -> None:
    # Beside the folder and not in it, where everything belongs to the module; of one name, so that
    # the next attempt removes what a killed one left.
    archive = folder.with_name(f"{folder.name}.tar.gz")
    try:
        address = _compressed(handle)
        download_file(address, archive, max_bytes=MAX_BYTES, policy=POLICY, keep_partial=False)
        with atomic_folder(folder) as inside:
            _unpack(archive, inside, handle)
    finally:
        archive.unlink(missing_ok=True)
    # As tensorflow_hub does, so that a person can tell the folders apart.
    write_text(folder.with_name(f"{folder.name}.descriptor.txt"), f"Handle: {handle}\n")


def _compressed(handle: str) -> str:
    """Return the address of the .tar.gz: every host of modules answers this query."""
    parts = urlsplit(handle)
    if parts.path.endswith((".tar.gz", ".tgz")):
        return handle
    asked = parse_qsl(parts.query, keep_blank_values=True)
    query = [pair for pair in asked if pair[0] != "tf-hub-format"]
    return urlunsplit(parts._replace(query=urlencode([*query, ("tf-hub-format", "compressed")])))


def _copy(source: Path, target: Path, handle: str) -> None:
    """Copy plain files; refuse links."""
    total = count = 0
    try:
        for folder, folders, files in os.walk(source, onerror=_raise):
            folders.sort()
            here = target / Path(folder).relative_to(source)
            here.mkdir(parents=True)
            for name in (*folders, *sorted(files)):
                path = Path(folder) / name
                if path.is_symlink() or not (path.is_file() or path.is_dir()):
                    raise _refused(handle, f"holds {name!r}, which is not a plain file")
                if not name.isprintable():
                    raise _refused(handle, f"holds {name!r}, a name that not every system allows")
            for name in sorted(files):
                path = Path(folder) / name
                total, count = total + path.stat().st_size, count + 1
                if total > MAX_BYTES:
                    raise _refused(handle, f"holds more than {MAX_BYTES:,} bytes")
                if count > MAX_FILES:
                    raise _refused(handle, f"holds more than {MAX_FILES:,} files")
                shutil.copyfile(path, here / name)
    except OSError as error:
        raise HeadstartError(
            f"The module {handle_name(handle)} cannot be copied: {error}."
        ) from error


def _raise(error: OSError) -> None:
    raise error


def _unpack(archive: Path, target: Path, handle: str) -> None:
    """Unpack a tar file, plain or compressed, without a single folder around the module.

    Raises
    ------
    HeadstartError
        If it is damaged, not a module, or holds what no module needs.
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
            "kept. It may be incomplete, or a page in place of the file: open the address in a "
            "browser."
        ) from error
    if not (target / MODULE_GRAPH).is_file():
        raise HeadstartError(
            f"{handle_name(handle)} is not a module: there is no {MODULE_GRAPH} in it. Nothing was "
            "kept. A module is a folder with that file and a folder `variables`."
        )


def _unwrap(target: Path) -> None:
    """Move a module out of folders that hold nothing else, up into the target."""
    while not (target / MODULE_GRAPH).is_file():
        inside = list(target.iterdir())
        if len(inside) != 1 or not inside[0].is_dir():
            return
        # Renamed first: a folder inside may have the same name.
        wrapper = inside[0].rename(target / ".wrapper")
        for each in wrapper.iterdir():
            each.rename(target / each.name)
        wrapper.rmdir()


def _refused(handle: str, fault: str) -> HeadstartError:
    return HeadstartError(
        f"The module {handle_name(handle)} {fault}. Nothing was kept. If you trust where it comes "
        "from, unpack it yourself and set `backbone.hub` to the folder."
    )
