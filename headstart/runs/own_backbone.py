"""A backbone's own file, which a commit names by a relative path, brought into its clean copy.

Git seldom has such a file. It comes from the user's folder, or else from the recorded backbone in
DVC's cache or remote, and only with the SHA-256 that the commit's params.yaml names.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from headstart._utils.errors import HeadstartError
from headstart._utils.files import MD5_FOLDER, sha256_tree
from headstart._utils.records import read_record
from headstart.backbones.network_record import NetworkRecord
from headstart.backbones.parameters import is_address
from headstart.backbones.record import FILE_FOLDER, MODULE
from headstart.backbones.record import RECORD as BACKBONE
from headstart.backbones.registry import HUB, is_path
from headstart.pipeline.recorded import Record
from headstart.pipeline.storage import Storage
from headstart.runs.clean_copy import Copy, Note

#: A record has this name in the backbone folder, whatever its name in the project.
_RECORD = "record.json"


@dataclass(frozen=True)
class _Named:
    """The file or folder that ``backbone`` names, and its SHA-256; None if any content will do."""

    key: str
    path: str
    sha256: str | None


def bring_backbone(copy: Copy, records: Mapping[str, Record], storage: Storage, note: Note) -> None:
    """Copy what ``backbone.weights`` or ``backbone.hub`` names by a relative path.

    A record of a network brings the network. What git has is taken from the commit, and an
    absolute path is read where it is.

    Parameters
    ----------
    copy : Copy
        With the parameters that its stages will read.
    records : mapping of str to Record
    storage : Storage
        Of the user's project: where the recorded backbone is looked for.
    note : callable
        Called with each remark for readers of the result.

    Raises
    ------
    HeadstartError
        If a file is nowhere, or only with another content.
    """
    named = _named(copy.project / "params.yaml")
    if named is None or Path(named.path).is_absolute():
        return
    _Bringer(copy, records, storage, note).bring(named)


def _named(params: Path) -> _Named | None:
    """Return what a parameter file of any version names; None for words and addresses."""
    try:
        section = YAML(typ="safe").load(params.read_bytes()).get("backbone")
        name, hub, weights = (section.get(key) for key in ("name", "hub", "weights"))
        sha256 = section.get("weights_sha256")
    except (YAMLError, OSError, AttributeError):  # the stages report what they cannot read
        return None
    if name == HUB and isinstance(hub, str) and not is_address(hub):
        # The SHA-256 is that of the module's files, which an archive still has to give.
        return _Named("hub", hub, None if Path(hub).suffix in {".gz", ".tgz", ".tar"} else sha256)
    if name != HUB and isinstance(weights, str) and is_path(weights):
        return _Named("weights", weights, sha256)
    return None


@dataclass(frozen=True)
class _Bringer:
    copy: Copy
    records: Mapping[str, Record]
    storage: Storage
    note: Note

    def bring(self, named: _Named) -> None:
        path = Path(named.path)
        if named.key == "hub":
            self._bring(named, MODULE if named.sha256 else None)
        elif path.suffix != ".json":
            self._bring(named, None)
        else:
            self._bring(named, f"{FILE_FOLDER}/{_RECORD}")
            record = read_record(self.copy.project / path, NetworkRecord, "")
            network = _Named("weights", str(path.with_name(record.file)), record.sha256)
            self._bring(network, f"{FILE_FOLDER}/{record.file}")

    def _bring(self, named: _Named, recorded: str | None) -> None:
        """Copy a file or folder unless git has it; ``recorded`` is its path in the backbone."""
        source, target = self.storage.root / named.path, self.copy.project / named.path
        if target.exists():
            return
        found = sha256_tree(source) if source.exists() else None
        if found is not None and named.sha256 in {None, found}:
            _copy(source, target)
            self.note(f"The backbone {named.path} is that of {self.storage.root}, copied.")
        elif recorded and (place := self._restore(recorded, target, named.sha256)):
            self.note(f"The backbone {named.path} is the recorded one, from {place}.")
        else:
            has = f"it has {found} in" if found else "it is not in"
            known = f"with sha256 {named.sha256} " if named.sha256 else ""
            raise HeadstartError(
                f"The backbone of the commit is missing: {named.path} (`backbone.{named.key}`) "
                f"{known}is not in git, {has} {self.storage.root}, and no recorded copy is in "
                "DVC's cache or the remote. Nothing was run. Put the file back."
            )

    def _restore(self, path: str, target: Path, sha256: str | None) -> str | None:
        """Fetch a file or folder of the recorded backbone; return where it was, None if nowhere."""
        for md5 in self._folders():
            files = self.storage.listing(md5, self.copy.scratch / "listing") or {}
            if BACKBONE not in files:
                continue
            staged = self.copy.scratch / "backbone"
            places: dict[str, None] = {}
            for name, each in files.items():
                if name == path or name.startswith(f"{path}/"):
                    place = self.storage.fetch(each, staged / name)
                    places |= {place: None} if place else {}
            if places and sha256_tree(staged / path) == sha256:
                _copy(staged / path, target)
                return " and ".join(places)
        return None

    def _folders(self) -> list[str]:
        outs = (out for record in self.records.values() for out in record.outs)
        return [out.md5 for out in outs if out.md5.endswith(MD5_FOLDER)]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copyfile(source, target)
