"""Decisions of a person, each written to ``corrections.csv`` before the next one is taken."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headstart._utils.errors import HeadstartError
from headstart.datasets.corrections import (
    Correction,
    class_fault,
    contradictions,
    read_corrections,
    write_corrections,
)
from headstart.review.findings import Finding, Images

#: What a person can do about a finding.
DOES = ("keep", "relabel", "remove", "same_object")


class UnfitDecisionError(HeadstartError):
    """A decision that cannot be taken."""


@dataclass(frozen=True)
class Verdicts:
    """What corrections say of images and pairs.

    Attributes
    ----------
    pairs : mapping of (str, str) to str
        Action by pair of image ids, in order.
    singles : mapping of str to Correction
        keep, relabel or remove, by image id.
    source : Images
    """

    pairs: Mapping[tuple[str, str], str]
    singles: Mapping[str, Correction]
    source: Images

    @classmethod
    def of(cls, rows: Iterable[Correction], source: Images) -> Verdicts:
        """Sort corrections by what they speak of."""
        pairs, singles = {}, {}
        for row in rows:
            if row.pair:
                pairs[row.pair] = row.action
            elif row.action != "new_class":
                singles[row.image_id] = row
        return cls(pairs, singles, source)

    def label(self, image_id: str) -> str | None:
        """Return the corrected label of an image: "" if it is removed, None if it has none."""
        row = self.singles.get(image_id)
        return None if row is None or row.action == "keep" else row.value

    def on(self, finding: Finding) -> str:
        """Return the action that was taken on a finding; "" if it is open."""
        if len(finding.images) != 2:
            found = [self.singles[one] for one in finding.images if one in self.singles]
            return found[0].action if found else ""
        if said := self.pairs.get((min(finding.images), max(finding.images))):
            return said
        corrected = [self.label(one) for one in finding.images]
        if "" in corrected:
            return "remove"
        labels = {
            label or self.source.labels[one]
            for one, label in zip(finding.images, corrected, strict=True)
        }
        return "relabel" if any(corrected) and len(labels) == 1 else ""


@dataclass(frozen=True)
class _Step:
    place: str  # of the finding, for a page that goes back to it
    added: Sequence[Correction]
    dropped: Sequence[Correction]


@dataclass
class Decisions:
    """The file of corrections, changed one decision at a time, each of which can be undone.

    The file is read again before each change, because an editor may have it open, too.

    Parameters
    ----------
    path : Path
    images : Images
    """

    path: Path
    images: Images
    _steps: list[_Step] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self) -> list[Correction]:
        """Return the decisions so far."""
        return read_corrections(self.path)

    def take(
        self, place: str, finding: Finding, action: str, value: str, image: str, *, new: bool
    ) -> None:
        """Write a decision; it replaces the earlier one on the same image or pair.

        Parameters
        ----------
        place : str
            Returned by :meth:`undo`.
        finding : Finding
        action : str
            One of :data:`DOES`.
        value : str
            The class of ``relabel``.
        image : str
            The image of ``relabel`` and ``remove``: one of the finding's.
        new : bool
            Allow a class that does not exist yet.

        Raises
        ------
        UnfitDecisionError
            If the action does not fit the finding, or the class does not exist.
        """
        with self._lock:
            rows = self.read()
            line = self._line(finding, action, value, image)
            added = [line]
            if action == "relabel" and value not in self.classes(rows):
                if not new:
                    raise UnfitDecisionError(f"There is no class {value!r} yet.")
                added.append(Correction("", "new_class", value))
            dropped = [row for row in rows if _same_matter(row, line)]
            self._write([*(row for row in rows if row not in dropped), *added])
            self._steps.append(_Step(place, added, dropped))

    def undo(self) -> str | None:
        """Take the last decision back; return the place of its finding, None if there is none."""
        with self._lock:
            if not self._steps:
                return None
            step = self._steps[-1]
            gone = {_key(row) for row in step.added}
            self._write([*(row for row in self.read() if _key(row) not in gone), *step.dropped])
            return self._steps.pop().place

    def classes(self, rows: Iterable[Correction]) -> list[str]:
        """Return the classes that images may get, in order."""
        return sorted({*self.images.labels.values(), *_values(rows, "new_class")})

    def _line(self, finding: Finding, action: str, value: str, image: str) -> Correction:
        pair = len(finding.images) == 2
        if not finding.images:
            raise UnfitDecisionError("A rejected file has nothing to correct: mend or delete it.")
        if image not in finding.images:
            raise UnfitDecisionError("The image is not one of this finding.")
        if action == "relabel":
            if fault := class_fault(value):
                raise UnfitDecisionError(f"The new label {fault}.")
            return Correction(image, action, value, finding.note)
        if action == "remove":
            return Correction(image, action, "", finding.note)
        if action == "keep" and not pair:
            return Correction(image, action, "", finding.note)
        if action in {"keep", "same_object"} and pair:
            return Correction(min(finding.images), action, max(finding.images), finding.note)
        raise UnfitDecisionError(f"{action!r} does not fit this finding.")

    def _write(self, rows: Sequence[Correction]) -> None:
        if faults := contradictions(rows):
            raise UnfitDecisionError(faults[0])
        write_corrections(self.path, rows)


def _key(row: Correction) -> tuple[object, ...]:
    return row.pair or (row.image_id, row.value if row.action == "new_class" else ""), row.action


def _same_matter(row: Correction, line: Correction) -> bool:
    """Return whether a line decides what another one does: a pair, or the label of an image."""
    if line.pair or row.pair:
        return row.pair == line.pair
    return row.action != "new_class" and row.image_id == line.image_id


def _values(rows: Iterable[Correction], action: str) -> list[str]:
    return [row.value for row in rows if row.action == action]
