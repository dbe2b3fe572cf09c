"""Near duplicates of a manifest: their pairs and groups as tables, metrics and text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from headstart._utils import tables
from headstart._utils.tables import counted, plain
from headstart.audit.duplicates import Pairs, counts, find_pairs, join
from headstart.audit.parameters import FindDuplicatesParams
from headstart.audit.thumbnails import Small, small
from headstart.datasets.duplicates import PAIRS
from headstart.datasets.manifests import frame
from headstart.features.forward_passes import Reader, ShardImages

#: Smaller images have too few pixels to tell a copy from another image of the same kind.
LEAST_SIDE = 32
_MOST_SHOWN = 8


@dataclass(frozen=True)
class Findings:
    """Near duplicates.

    Attributes
    ----------
    pairs : DataFrame
        Columns :data:`headstart.datasets.duplicates.PAIRS`.
    groups : mapping of str to str
        Group of each image that is in a pair.
    compared, too_small : int
        Different images that were compared, and that were too small for it.
    """

    pairs: pd.DataFrame
    groups: Mapping[str, str]
    compared: int
    too_small: int

    def metrics(self) -> dict[str, Any]:
        """Return the numbers for the metrics file."""
        return {
            "images_compared": self.compared,
            "images_too_small": self.too_small,
            "pairs": len(self.pairs),
            "groups": len(set(self.groups.values())),
            "images_in_groups": len(self.groups),
            "by_kind": counts(self.pairs["kind"]),
            "pairs_across_classes": int(self.pairs["conflict"].sum()),
            "pairs_across_predefined_splits": int(self.pairs["leak"].sum()),
        }

    def describe(self) -> str:
        """Return the numbers for a terminal, with the pairs that need a look."""
        lines = [
            (
                f"{counted(self.compared, 'image')} compared, 0 forward passes: "
                f"{counted(len(self.pairs), 'pair')} of near duplicates in "
                f"{counted(len(set(self.groups.values())), 'group')} of "
                f"{counted(len(self.groups), 'image')}."
            )
        ]
        kinds = {kind: count for kind, count in counts(self.pairs["kind"]).items() if count}
        if kinds:
            lines.append(tables.columns([(k, f"{count:,}") for k, count in kinds.items()], "lr"))
        if self.too_small:
            lines.append(
                f"{counted(self.too_small, 'image')} with a side below {LEAST_SIDE} pixels: "
                "too small to compare, except byte for byte."
            )
        lines += self._listed("conflict", "Pairs across classes (one label is probably wrong)")
        lines += self._listed("leak", "Pairs across predefined splits")
        return "\n".join(lines)

    def _listed(self, column: str, title: str) -> list[str]:
        found = self.pairs[self.pairs[column] == 1].sort_values(
            ["similarity", "path", "other_path"], ascending=[False, True, True]
        )
        if found.empty:
            return []
        columns = found[["path", "other_path", "kind", "similarity"]].head(_MOST_SHOWN)
        shown = [
            f"  {plain(str(path))} – {plain(str(other))} ({kind}, {near:.3f})"
            for path, other, kind, near in columns.itertuples(index=False)
        ]
        more = ["  …"] if len(found) > _MOST_SHOWN else []
        return [f"{title}: {len(found):,}", *shown, *more]


def find_duplicates(images: pd.DataFrame, reader: Reader, params: FindDuplicatesParams) -> Findings:
    """Return the near duplicates among the images of a manifest.

    Parameters
    ----------
    images : DataFrame
        Image manifest, in any order. Byte-identical images are compared once.
    reader : Reader
        Reads their bytes.
    params : FindDuplicatesParams
    """
    if not params.enabled:
        return Findings(frame([], PAIRS), {}, 0, 0)
    rows = images.sort_values(["image_id", "path"]).drop_duplicates("image_id")
    large = rows[["width", "height"]].min(axis=1) >= LEAST_SIDE
    compared = rows[large].reset_index(drop=True)
    pairs = find_pairs(_thumbnails(compared, reader), params.similarity)
    ids = compared["image_id"].to_numpy()
    groups = join(zip(ids[pairs.first], ids[pairs.second], strict=True))
    table = _table(images, compared, pairs, groups)
    return Findings(table, groups, len(compared), int((~large).sum()))


def _thumbnails(compared: pd.DataFrame, reader: Reader) -> Small:
    """Return the thumbnails of images, which are read in the order in which they are stored."""
    by_id = {image.image_id: image for image in ShardImages(compared, reader)}
    return small([by_id[image_id] for image_id in compared["image_id"]])


def _table(
    images: pd.DataFrame, compared: pd.DataFrame, pairs: Pairs, groups: Mapping[str, str]
) -> pd.DataFrame:
    first, second = (compared.iloc[side] for side in (pairs.first, pairs.second))
    ids = first["image_id"].to_numpy(), second["image_id"].to_numpy()
    known = images[images["image_id"].isin(groups)]
    labels = known.groupby("image_id")["label"].agg(set)
    splits = known.groupby("image_id")["predefined_split"].agg(set)
    both = list(zip(*ids, strict=True))
    table = pd.DataFrame(
        {
            "image_id": ids[0],
            "other_id": ids[1],
            "path": first["path"].to_numpy(),
            "other_path": second["path"].to_numpy(),
            "label": first["label"].to_numpy(),
            "other_label": second["label"].to_numpy(),
            "kind": np.array(pairs.kind, dtype=object),
            "similarity": pairs.similarity,
            "conflict": [int(not labels[one] & labels[other]) for one, other in both],
            "leak": [int(_held_out(splits[one] | splits[other])) for one, other in both],
            "group": [groups[one] for one in ids[0]],
        }
    )
    return table.astype(dict(PAIRS))


def _held_out(splits: set[str]) -> bool:
    return len({name if name in {"validation", "test"} else "train" for name in splits}) > 1
