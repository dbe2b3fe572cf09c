"""The objects of DVC's cache: files named by the MD5 of their content, which DVC does not check."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart._utils.errors import HeadstartError
from headstart._utils.files import MD5_FOLDER, md5_file
from headstart._utils.progress import progress
from headstart.pipeline.graph import opened, path_of


@dataclass(frozen=True)
class DamagedObject:
    """An object whose content does not have the MD5 that names it.

    Attributes
    ----------
    path : Path
    used_by : tuple of str
        Recorded outputs of this checkout that consist of it or contain it.
    """

    path: Path
    used_by: tuple[str, ...]

    def remove(self) -> None:
        """Remove it, so that DVC no longer restores it.

        Raises
        ------
        HeadstartError
            If the file system refuses.
        """
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise HeadstartError(
                f"{self.path} is damaged, and cannot be removed: {error.strerror}. Run the command "
                "as the owner of DVC's cache."
            ) from error


def cache_folder(root: Path) -> Path:
    """Return the folder of DVC's cache. Errors as in :func:`damaged_objects`."""
    with opened(root) as repo:
        return Path(repo.cache.local.path)


def damaged_objects(root: Path) -> tuple[int, list[DamagedObject]]:
    """Hash every object of a project's cache.

    Parameters
    ----------
    root : Path
        The project's folder.

    Returns
    -------
    int
        The number of objects.
    list of DamagedObject

    Raises
    ------
    GraphError
        If DVC cannot read the project.
    """
    with opened(root) as repo:
        cache = Path(repo.cache.local.path)
        objects = sorted(_objects(cache))
        total = sum(path.stat().st_size for path in objects)
        bad = []
        with progress(max(total >> 20, 1), "Checking DVC's cache", "MB") as bar:
            for path in objects:
                if not _intact(path):
                    bad.append(path)
                bar.update(path.stat().st_size >> 20)
        users = _users(repo, cache) if bad else {}
        found = [DamagedObject(path, tuple(users.get(_md5(path), ()))) for path in bad]
    return len(objects), found


def _objects(cache: Path) -> Iterator[Path]:
    for inside, _, names in os.walk(cache):
        if len(Path(inside).name) == 2:
            yield from (Path(inside, name) for name in names if _is_hash(Path(inside, name)))


def _is_hash(path: Path) -> bool:
    """Return whether a file is an object, and not one that DVC is still writing."""
    name = _md5(path).removesuffix(MD5_FOLDER)
    return len(name) == 32 and set(name) <= set("0123456789abcdef")


def _md5(path: Path) -> str:
    return path.parent.name + path.name


def _intact(path: Path) -> bool:
    try:
        return md5_file(path) == _md5(path).removesuffix(MD5_FOLDER)
    except FileNotFoundError:  # `dvc gc` ran in the meantime.
        return True
    except OSError:
        return False


def _users(repo: Any, cache: Path) -> Mapping[str, list[str]]:
    """Return the recorded outputs of the checkout by the MD5 of each of their files."""
    found: dict[str, list[str]] = {}
    for out in repo.index.outs:
        md5 = str(out.hash_info.value) if out.hash_info else ""
        if not md5:
            continue
        path = path_of(repo, out)
        found.setdefault(md5, []).append(path)
        if md5.endswith(MD5_FOLDER):
            try:
                for entry in json.loads((cache / md5[:2] / md5[2:]).read_bytes()):
                    found.setdefault(entry["md5"], []).append(f"{path}/{entry['relpath']}")
            except (OSError, ValueError, TypeError, KeyError):
                continue
    return found
