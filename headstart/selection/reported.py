"""The test scores that comparisons have shown, so that a second one is recognized.

A test score predicts the accuracy on new images as long as nothing was chosen by it. To look at the
test scores of several backbones and take the best is to choose by them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from headstart._utils.cache import cache_folder
from headstart._utils.errors import CorruptFileError
from headstart._utils.records import Record, Sha256, read_record, write_record
from headstart._utils.tables import counted, listed
from headstart.features.store import canonical
from headstart.selection.guesses import Images


class Reported(Record):
    """A test score that was shown: of which features, by which name."""

    fingerprint: Sha256
    backbone: str


class ReportedScores(Record):
    """The test scores that were shown on one set of test images."""

    format: Literal[1] = 1
    reported: tuple[Reported, ...]


def note(images: Images, shown: Sequence[Reported]) -> str:
    """Record test scores that are shown now; return a warning about earlier ones, or "".

    Parameters
    ----------
    images : Images
    shown : sequence of Reported
    """
    file = _file(images)
    before = _read(file)
    now = {one.fingerprint for one in shown}
    others = [one for one in before if one.fingerprint not in now]
    kept = {one.fingerprint: one for one in (*before, *shown)}
    write_record(file, ReportedScores(reported=tuple(kept.values())))
    if not others:
        return ""
    names = listed([one.backbone for one in others])
    return (
        f"Note: on these test images, the scores of {counted(len(others), 'other backbone')} were "
        f"shown before ({names}). The more test scores you look at, the less the best of them says "
        "about new images."
    )


def _file(images: Images) -> Path:
    test = images.of("test")
    facts = [test["image_id"].tolist(), test["label"].tolist()]
    digest = hashlib.sha256(canonical({"test": facts}).encode()).hexdigest()
    return cache_folder() / "comparisons" / f"{digest}.json"


def _read(file: Path) -> tuple[Reported, ...]:
    if not file.exists():
        return ()
    try:
        return read_record(file, ReportedScores, "It is written again.").reported
    except CorruptFileError:
        return ()
