"""Images that an earlier ingest has checked: a new ingest hashes them, or skips them.

An image that was accepted is known by the SHA-256 of its bytes, under the limits of that time and
the version of everything that decodes. Files that were rejected are checked again each time. The
SHA-256 of a file in a folder is trusted while its size, times and inode are those with which it
was read, as DVC trusts its own hashes, and that of an object while its size and version are. With
``HEADSTART_VERIFY=1`` every file is read.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from headstart._utils.memo import Memo
from headstart._utils.stamps import RecordedHashes
from headstart.images.decode import ImageInfo, Limits
from headstart.images.samples import NO_TRAITS, Traits
from headstart.images.version import decoder
from headstart.sources import kinds, stand_ins
from headstart.sources.source import Recorded

_FIELDS = [each.name for each in fields(ImageInfo) if each.name != "traits"]
_TRAITS = [each.name for each in fields(Traits)]
_BATCH = 4096  # images that are recorded at once
#: Modules that also decide whether a file is accepted, and whether it has few colors.
_CODE = [Path(module.__file__) for module in (kinds, stand_ins) if module.__file__]


@dataclass(frozen=True, slots=True)
class Checked:
    """An accepted image.

    Attributes
    ----------
    info : ImageInfo
    few : bool or None
        Whether it has few colors; None: not counted.
    """

    info: ImageInfo
    few: bool | None


class KnownImages:
    """The images that were accepted under the same limits; use it in a ``with`` block.

    Parameters
    ----------
    limits : Limits
    """

    def __init__(self, limits: Limits) -> None:
        self._memo = Memo("checked", {"limits": asdict(limits), "decoder": decoder(_CODE)})
        self._hashes = RecordedHashes("sha256")
        self._new: dict[bytes, bytes] = {}

    def find(self, image_id: str, *, counted: bool) -> Checked | None:
        """Return what is known of an image; with ``counted``, only if its colors were counted."""
        return self._checked(self._memo.get(bytes.fromhex(image_id)), counted=counted)

    def unread(
        self, files: Mapping[str, Recorded], counted: Collection[str]
    ) -> dict[str, tuple[str, Checked]]:
        """Return ``image_id`` and more of the files that need not be read.

        Parameters
        ----------
        files : mapping of str to Recorded
            By any name.
        counted : collection of str
            The names of those whose colors are to be counted.
        """
        hashes = self._hashes.known({file.path: file.stamp for file in files.values()})
        names = {name: hashes[file.path] for name, file in files.items() if file.path in hashes}
        values = self._memo.get_many({bytes.fromhex(image_id) for image_id in names.values()})
        found = {}
        parsed: dict[tuple[bytes | None, bool], Checked | None] = {}  # few differ
        for name, image_id in names.items():
            key = values.get(bytes.fromhex(image_id)), name in counted
            if key not in parsed:
                parsed[key] = self._checked(key[0], counted=key[1])
            checked = parsed[key]
            if checked is not None:
                found[name] = image_id, checked
        return found

    def add(self, image_id: str, checked: Checked) -> None:
        """Note an accepted image."""
        # Not by `asdict`, which takes longer than decoding a small image.
        info = checked.info
        record = {
            **{name: getattr(info, name) for name in _FIELDS},
            "traits": {name: getattr(info.traits, name) for name in _TRAITS},
            "few": checked.few,
        }
        value = json.dumps(record, separators=(",", ":"))
        self._new[bytes.fromhex(image_id)] = value.encode()
        if len(self._new) >= _BATCH:
            self._flush()

    def add_recorded(self, file: Recorded, image_id: str) -> None:
        """Note the SHA-256 of a file that was read."""
        self._hashes.add(file.path, file.stamp, image_id)

    def forget(self, files: Iterable[Recorded]) -> None:
        """Read these files again the next time."""
        self._hashes.forget(file.path for file in files)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._memo.close()
        self._hashes.save()

    def _flush(self) -> None:
        self._memo.put_many(self._new.items())
        self._new.clear()

    @staticmethod
    def _checked(value: bytes | None, *, counted: bool) -> Checked | None:
        if value is None:
            return None
        known: dict[str, Any] = json.loads(value.decode())  # its checksum is right, so we wrote it
        few = known.pop("few")
        if counted and few is None:
            return None
        traits = Traits(**known.pop("traits"))
        return Checked(ImageInfo(**known, traits=NO_TRAITS if traits == NO_TRAITS else traits), few)
