"""Apply corrections to an image manifest, and record what they changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from headstart._utils.csv_text import csv_text
from headstart._utils.errors import HeadstartError
from headstart._utils.files import write_text
from headstart._utils.tables import counted, listed, plain
from headstart._utils.unions import united
from headstart.datasets.corrections import Correction
from headstart.datasets.manifests import SPLITS, frame, read_table

#: Column to dtype of the record. ``action``: relabel or remove. ``label``: that of the source.
#: ``corrected``: the new label; "" for an image that was removed.
CHANGED: Mapping[str, str] = {
    "image_id": "str",
    "path": "str",
    "action": "str",
    "label": "str",
    "corrected": "str",
    "note": "str",
}


@dataclass(frozen=True)
class Corrected:
    """An image manifest as people corrected it.

    Attributes
    ----------
    images : DataFrame
        The image manifest with corrected labels and groups, without removed images.
    changed : DataFrame
        A row for each row of the manifest that was relabeled or removed; columns :data:`CHANGED`.
    lines : sequence of Correction
        The corrections.
    unknown : sequence of Correction
        Those that speak of an image that is not in the manifest.
    """

    images: pd.DataFrame
    changed: pd.DataFrame
    lines: Sequence[Correction]
    unknown: Sequence[Correction]

    def metrics(self, manifest: pd.DataFrame) -> dict[str, Any]:
        """Return the numbers for the metrics file; none without corrections.

        Parameters
        ----------
        manifest : DataFrame
            The split manifest: a relabeled test image changes what the scores are measured on.
        """
        if not self.lines:
            return {}
        relabeled = self.changed[self.changed["action"] == "relabel"]
        of = manifest.drop_duplicates("image_id").set_index("image_id")["split"]
        parts = of.reindex(relabeled["image_id"].unique())
        counts = {action: self._count(action) for action in ("keep", "remove", "same_object")}
        return {
            "corrections": {
                **counts,
                "relabel": {name: int((parts == name).sum()) for name in SPLITS},
                "of_unknown_images": len(self.unknown),
            }
        }

    def notes(self) -> list[str]:
        """Return remarks for people, as sentences."""
        if not self.lines:
            return []
        relabeled = self.changed[self.changed["action"] == "relabel"]["image_id"].nunique()
        removed = self.changed[self.changed["action"] == "remove"]["image_id"].nunique()
        together = self._count("same_object")
        done = (
            f"Corrections: {counted(len(self.lines), 'line')}; {counted(relabeled, 'image')} "
            f"relabeled, {counted(removed, 'image')} removed, {counted(together, 'pair')} held "
            "together."
        )
        notes = [done]
        if self.unknown:
            named = listed([f"{row.image_id[:12]} (line {row.line})" for row in self.unknown])
            notes.append(
                f"Corrections without effect: {counted(len(self.unknown), 'line')} of images that "
                f"are not in the source: {named}. If these files were removed or changed, remove "
                "their lines from data/corrections.csv."
            )
        return notes

    def _count(self, action: str) -> int:
        return sum(row.action == action for row in self.lines) - sum(
            row.action == action for row in self.unknown
        )


def correct(images: pd.DataFrame, lines: Sequence[Correction]) -> Corrected:
    """Return the manifest with the corrections applied.

    All copies of an image get the same label. Images of one object get one group: that of the
    source if there is one, else the first image's id.

    Parameters
    ----------
    images : DataFrame
        Image manifest.
    lines : sequence of Correction
        Without contradictions.

    Raises
    ------
    HeadstartError
        If an image would get a class that no image of the source has, and no line allows it.
    """
    if not lines:  # as nearly always: nothing to look up for each image
        return Corrected(images.reset_index(drop=True), frame([], CHANGED), lines, [])
    _refuse_unknown_classes(images, lines)
    ids = images["image_id"]
    known = set(ids) if lines else set()
    unknown = [
        row
        for row in lines
        if row.action != "new_class" and not {*(row.pair or (row.image_id,))} <= known
    ]
    of = {row.image_id: row for row in lines if row.action in {"relabel", "remove"}}
    new = {one: row.value for one, row in of.items() if row.action == "relabel"}
    removed = ids.isin([one for one, row in of.items() if row.action == "remove"])
    labels = images["label"].where(~ids.isin(list(new)), ids.map(new)).astype("str")
    touched = removed | (labels != images["label"])
    changed = pd.DataFrame(
        {
            "image_id": ids,
            "path": images["path"],
            "action": removed.map({True: "remove", False: "relabel"}),
            "label": images["label"],
            "corrected": labels.where(~removed, ""),
            "note": ids.map(lambda one: of[one].note if one in of else ""),
        }
    )[touched].astype(dict(CHANGED))
    pairs = [row.pair for row in lines if row.action == "same_object" and row.pair]
    grouped = images.assign(label=labels, group=_groups(images, removed, pairs))
    return Corrected(grouped[~removed].reset_index(drop=True), changed, lines, unknown)


def write_changed(path: Path, changed: pd.DataFrame) -> None:
    """Write what corrections changed, sorted by path."""
    write_text(path, csv_text(changed[list(CHANGED)].sort_values("path", kind="stable")))


def read_changed(path: Path) -> pd.DataFrame:
    """Read what corrections changed."""
    return read_table(
        path, CHANGED, "a table of corrected images", "Run `dvc repro --force split` to write it."
    )


def _groups(
    images: pd.DataFrame, removed: pd.Series[bool], pairs: Sequence[tuple[str, str]]
) -> pd.Series[str]:
    """Return the group of each row; pairs of one object share theirs."""
    if not pairs:
        return images["group"]
    grouped = images.loc[images["group"] != "", ["image_id", "group"]].drop_duplicates()
    of_source = [((1, one), (0, group)) for one, group in grouped.itertuples(index=False)]
    first = united([*of_source, *(((1, one), (1, other)) for one, other in pairs)])
    joined = {first[1, one] for pair in pairs for one in pair}
    # A removed image still connects others, but names no group.
    present = set(images.loc[~removed, "image_id"])
    names: dict[tuple[int, str], str] = {}
    for (kind, member), root in first.items():  # in order: groups, then images
        if root in joined and (kind == 0 or member in present):
            names.setdefault(root, member)
    groups = [
        names.get(first[1, one], group) if (1, one) in first else group
        for one, group in zip(images["image_id"], images["group"], strict=True)
    ]
    return pd.Series(groups, index=images.index, dtype="str")


def _refuse_unknown_classes(images: pd.DataFrame, lines: Sequence[Correction]) -> None:
    known = {*images["label"], *(row.value for row in lines if row.action == "new_class")}
    wrong = [row for row in lines if row.action == "relabel" and row.value not in known]
    if not wrong:
        return
    shown = listed([f"{plain(row.value)!r} (line {row.line})" for row in wrong])
    raise HeadstartError(
        f"data/corrections.csv gives images a class that no image of the source has: {shown}. "
        "Nothing was corrected. Correct the name, or allow it as a new class with the line "
        f"`,new_class,{plain(wrong[0].value)},`; then run again."
    )
