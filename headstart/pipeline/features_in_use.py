"""The fingerprints of the features that the commits of a project use, from git and DVC's cache."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from headstart._utils.files import MD5_FOLDER
from headstart.pipeline.cache_objects import cache_folder
from headstart.pipeline.git import Repository

_LOCK = "dvc.lock"
_STAGE = "extract_features"
_HEADER = "features.json"


@dataclass(frozen=True)
class InUse:
    """The fingerprints in use.

    Attributes
    ----------
    fingerprints : frozenset of str
    unknown : tuple of str
        The commits whose features are not in DVC's cache; "" stands for the folder itself.
    """

    fingerprints: frozenset[str]
    unknown: tuple[str, ...]


def features_in_use(root: Path) -> InUse:
    """Return the fingerprints that the commits of all branches and tags use, and the folder itself.

    Raises
    ------
    GraphError
        If DVC cannot read the project.
    """
    objects = cache_folder(root) / "files" / "md5"
    if not objects.is_dir():
        objects = cache_folder(root)
    found: set[str] = set()
    unknown = []
    known: dict[bytes, frozenset[str] | None] = {}
    for commit, content in _locks(root):
        if content not in known:
            known[content] = _fingerprints(content, objects)
        fingerprints = known[content]
        if fingerprints is None:
            unknown.append(commit)
        else:
            found |= fingerprints
    return InUse(frozenset(found), tuple(unknown))


def _locks(root: Path) -> Iterator[tuple[str, bytes]]:
    lock = root / _LOCK
    if lock.is_file():
        yield "", lock.read_bytes()
    repository = Repository(root)
    for commit in repository.ask("log", "--all", "--format=%H", "--", _LOCK).split():
        content = repository.content(commit, _LOCK)
        if content is not None:
            yield commit, content


def _fingerprints(lock: bytes, objects: Path) -> frozenset[str] | None:
    """Return the fingerprints that a dvc.lock leads to; None if the cache lacks the files."""
    try:
        stages = YAML(typ="safe").load(lock.decode())["stages"]
        outs = stages[_STAGE]["outs"] if _STAGE in stages else []
        folders = [str(out["md5"]) for out in outs if str(out["md5"]).endswith(MD5_FOLDER)]
        found: set[str] = set()
        for md5 in folders:
            names = {each["relpath"]: each["md5"] for each in _object(objects, md5)}
            header: Mapping[str, Any] = _object(objects, names[_HEADER])
            parts = (header, header.get("views") or {})
            found |= {each["fingerprint"] for each in parts if "fingerprint" in each}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, YAMLError):
        return None
    return frozenset(found)


def _object(objects: Path, md5: str) -> Any:
    return json.loads((objects / md5[:2] / md5[2:]).read_bytes())
