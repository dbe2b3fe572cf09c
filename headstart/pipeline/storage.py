"""Where DVC keeps recorded bytes: its cache and its remote, read, checked, and set for a copy."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from configobj import ConfigObj
from dvc.config import Config, ConfigError
from dvc.config_schema import RelPath
from dvc.fs import LocalFileSystem, get_cloud_fs

from headstart._utils.files import MD5_FOLDER
from headstart.pipeline.recorded import Output, RecordError

_CHUNK = 1 << 20


@dataclass
class Storage:
    """The recorded bytes of a project: its DVC cache, then its default remote, as it is set now.

    Nothing is trusted: every file is hashed while it is copied.

    Parameters
    ----------
    root : Path
        The project's folder, whose ``.dvc/config`` and ``.dvc/config.local`` say where they are.

    Attributes
    ----------
    faults : list of str
        The reasons why a location could not be read, or was not used.
    """

    root: Path
    faults: list[str] = field(default_factory=list)

    def fetch(self, md5: str, target: Path) -> str | None:
        """Copy the file with that hash to ``target``; return its location, None if it has none."""
        if not md5:
            return None
        target.parent.mkdir(parents=True, exist_ok=True)
        for place in list(self._places):
            name, fs, base = place
            try:
                got = _copy(fs, fs.join(base, "files", "md5", md5[:2], md5[2:]), target)
            except FileNotFoundError:
                continue
            except Exception as error:  # noqa: BLE001 - whatever the library of a cloud raises
                self.faults.append(f"{name} could not be read: {error}")
                self._places.remove(place)
                continue
            if got == md5.removesuffix(MD5_FOLDER):
                return name
            self.faults.append(f"{name} holds a damaged file under {md5}; it was not used")
        target.unlink(missing_ok=True)
        return None

    def listing(self, md5: str, scratch: Path) -> dict[str, str] | None:
        """Return the files of a recorded folder with their hashes; None if there is no list.

        Raises
        ------
        RecordError
            If the list names a path outside of the folder.
        """
        if self.fetch(md5, scratch) is None:
            return None
        try:
            entries = json.loads(scratch.read_bytes())
            found = {str(entry["relpath"]): str(entry["md5"]) for entry in entries}
        except (ValueError, TypeError, KeyError) as error:
            raise RecordError(f"The recorded list of files {md5} cannot be read: {error}") from None
        for path in found:
            if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or not path:
                raise RecordError(f"The recorded list of files {md5} names {path!r}. Not used.")
        return found

    def restore(self, output: Output, folder: Path, scratch: Path) -> str | None:
        """Restore a recorded output below ``folder``; return its location, None if it has none."""
        target = folder / output.path
        if not output.md5.endswith(MD5_FOLDER):
            return self.fetch(output.md5, target)
        files = self.listing(output.md5, scratch)
        if files is None:
            return None
        target.mkdir(parents=True, exist_ok=True)
        places: dict[str, None] = {}
        for path, md5 in files.items():
            place = self.fetch(md5, target / path)
            if place is None:
                return None
            places[place] = None
        return " and ".join(places) or "only its list (it is empty)"

    @cached_property
    def _places(self) -> list[tuple[str, Any, str]]:
        config = Config(os.fspath(self.root / ".dvc"))
        cache = config["cache"].get("dir") or self.root / ".dvc" / "cache"
        places: list[tuple[str, Any, str]] = [("DVC's cache", LocalFileSystem(), os.fspath(cache))]
        name = config["core"].get("remote")
        if name:
            try:
                kind, options, path = get_cloud_fs(config, name=name)
                places.append((f"the remote `{name}`", kind(**options), path))
            except Exception as error:  # noqa: BLE001 - a library that is not there, bad settings
                self.faults.append(f"The remote `{name}` could not be opened: {error}")
        return places


def _copy(fs: Any, source: str, target: Path) -> str:
    """Copy a file, and return the md5 of what was read."""
    digest = hashlib.md5(usedforsecurity=False)
    with fs.open(source, "rb") as file, target.open("wb") as out:
        while piece := file.read(_CHUNK):
            digest.update(piece)
            out.write(piece)
    return digest.hexdigest()


def default_remote(root: Path) -> tuple[str, str]:
    """Return name and address of a project's default remote, as ``.dvc/config`` has them.

    Returns
    -------
    str, str
        Empty if there is none. A folder relative to ``.dvc`` is given as it is written.

    Raises
    ------
    RecordError
        If the settings cannot be read.
    """
    try:
        settings = Config(os.fspath(root / ".dvc")).load_one("repo")
    except ConfigError as error:
        raise RecordError(f"DVC's settings of {root} cannot be read: {error}") from error
    name = settings["core"].get("remote") or ""
    address = settings["remote"].get(name, {}).get("url") or ""
    if isinstance(address, RelPath):
        address = os.path.relpath(address, root.resolve() / ".dvc")
    return name, str(address)


def set_locally(root: Path, settings: Mapping[str, Mapping[str, str]]) -> None:
    """Write DVC's settings for this copy alone: ``.dvc/config.local``, which git ignores.

    Parameters
    ----------
    root : Path
        The project's folder.
    settings : mapping
        Sections of values, which go before those of the project and of the user. The section of a
        remote is named ``remote "NAME"``.
    """
    # DVC's own writer fails on a path that is not ASCII.
    file = ConfigObj(
        os.fspath(root / ".dvc" / "config.local"), encoding="utf-8", interpolation=False
    )
    file.merge(settings)
    file.write()
