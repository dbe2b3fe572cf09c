"""What a page says of the images: how many, how large, and which files were rejected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from headstart.datasets.manifests import REASONS, SPLITS
from headstart.report.thumbnails import Thumbnail

_NAMED = 100  # files that are listed by name


def counted(images: pd.DataFrame) -> dict[str, Any]:
    """Counts by class and split.

    Parameters
    ----------
    images : DataFrame
        Rows of the sample manifest: what was used.
    """
    numbers = pd.crosstab(images["label"], images["split"])
    numbers = numbers.reindex(columns=list(SPLITS), fill_value=0)
    most = int(numbers.sum(axis=1).max()) if len(numbers) else 0
    rows = []
    for label, row in numbers.sort_index().iterrows():
        parts, start = [], 0.0
        for split in SPLITS:
            width = 100 * int(row[split]) / most
            parts.append({"split": split, "x": round(start, 2), "width": round(width, 2)})
            start += width
        rows.append(
            {
                "label": label,
                **{s: int(row[s]) for s in SPLITS},
                "bar": parts,
            }
        )
    totals = {split: int(numbers[split].sum()) for split in SPLITS}
    sums = numbers.sum(axis=1)
    return {
        "rows": rows,
        "totals": totals,
        "all": int(sums.sum()),
        "classes": len(rows),
        "least": int(sums.min()) if rows else 0,
        "most": most,
        "formats": images["format"].value_counts().sort_index().to_dict(),
        "bytes": int(images["bytes"].sum()),
    }


def sized(images: pd.DataFrame) -> dict[str, Any]:
    """The least, the middle and the largest image by its pixels."""
    sizes = images[["width", "height"]]
    order = (sizes["width"] * sizes["height"]).sort_values(kind="stable").index
    middle = sizes.loc[order[len(order) // 2]]
    first, last = sizes.loc[order[0]], sizes.loc[order[-1]]
    return {
        "same": bool((sizes == sizes.iloc[0]).all(axis=None)),
        "least": (int(first["width"]), int(first["height"])),
        "middle": (int(middle["width"]), int(middle["height"])),
        "most": (int(last["width"]), int(last["height"])),
    }


def aside(table: pd.DataFrame, image: Callable[[str], Thumbnail | None]) -> dict[str, Any]:
    """Files that were not taken, by reason.

    Parameters
    ----------
    table : DataFrame
        ``path``, ``reason``, ``detail``.
    image : callable
        The small image of the file that stood at a path, if there is one.
    """
    groups = []
    left = _NAMED
    for reason, number in table["reason"].value_counts().sort_index().items():
        rows = table[table["reason"] == reason].head(left)
        left -= len(rows)
        files = [
            {"path": row["path"], "detail": row["detail"], "image": image(row["path"])}
            for row in rows.to_dict("records")
        ]
        groups.append(
            {
                "reason": reason,
                "means": REASONS.get(str(reason), ""),
                "count": int(number),
                "seen": [file for file in files if file["image"]],
                "unseen": [file for file in files if not file["image"]],
                "more": int(number) - len(files),
            }
        )
    return {"count": len(table), "groups": groups}
