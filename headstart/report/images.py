"""The sections of the page on images: the data set, the rejected files, and the predictions."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from headstart._utils.errors import ImageError
from headstart._utils.seeds import uniform
from headstart.datasets.manifests import REASONS, SPLITS
from headstart.datasets.shards import ShardReader
from headstart.evaluation.predictions import Predictions
from headstart.images.decode import INSPECTED
from headstart.images.thumbnails import find_thumbnail, reduced

_NAMED = 100  # rejected files that are listed by name
_EACH = 12  # images of the worst mistakes, and of the most and the least certain predictions
_LOSSLESS = 64  # thumbnails up to this side are PNG: JPEG would blur what little there is
_MAGNIFIED = 32  # and up to this one the page shows their pixels as squares
_QUALITY = 78


@dataclass(frozen=True)
class Thumbnail:
    """A small image for the page.

    Attributes
    ----------
    src : str
        A ``data:`` address.
    width, height : int
        Pixels.
    small : bool
        Of so few pixels that they should be shown as squares.
    """

    src: str
    width: int
    height: int
    small: bool


def thumbnail(content: bytes) -> Thumbnail:
    """Reduce an image to at most 160 pixels per side, upright, with its proportions.

    Raises
    ------
    ImageError
        If the content is not an image within Pillow's own bounds.
    """
    image = reduced(content, INSPECTED)
    stream = io.BytesIO()
    kind, options = ("png", {}) if max(image.size) <= _LOSSLESS else ("jpeg", {"quality": _QUALITY})
    image.save(stream, kind, **options)
    return _embedded(stream.getvalue(), kind, image.size)


def rejected_thumbnail(folder: Path, path: str) -> Thumbnail | None:
    """Return the thumbnail that was kept of a rejected file, if there is one."""
    content = find_thumbnail(folder, path)
    if content is None:
        return None
    with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
        return _embedded(content, "jpeg", image.size)


def _embedded(content: bytes, kind: str, size: tuple[int, int]) -> Thumbnail:
    text = base64.b64encode(content).decode("ascii")
    return Thumbnail(f"data:image/{kind};base64,{text}", *size, max(size) <= _MAGNIFIED)


def counted(images: pd.DataFrame) -> dict[str, Any]:
    """Count the images in use by class and split.

    Parameters
    ----------
    images : DataFrame
        Rows of the sample manifest.
    """
    numbers = pd.crosstab(images["label"], images["split"])
    numbers = numbers.reindex(columns=list(SPLITS), fill_value=0).sort_index()
    sums = numbers.sum(axis=1)
    least, most = (int(sums.min()), int(sums.max())) if len(sums) else (0, 0)
    rows = []
    for label, row in numbers.iterrows():
        parts, start = [], 0.0
        for split in SPLITS:
            width = 100 * int(row[split]) / most
            parts.append({"split": split, "x": round(start, 2), "width": round(width, 2)})
            start += width
        rows.append({"label": label, **{s: int(row[s]) for s in SPLITS}, "bar": parts})
    return {
        "rows": rows,
        "totals": {split: int(numbers[split].sum()) for split in SPLITS},
        "all": int(sums.sum()),
        "classes": len(rows),
        "least": least,
        "most": most,
        "formats": images["format"].value_counts().sort_index().to_dict(),
        "bytes": int(images["bytes"].sum()),
    }


def sized(images: pd.DataFrame) -> dict[str, Any]:
    """Return the sizes of the smallest, the median and the largest image, by pixels."""
    sizes = images[["width", "height"]]
    order = (sizes["width"] * sizes["height"]).sort_values(kind="stable").index
    places = {"least": 0, "middle": len(order) // 2, "most": -1}
    return {
        "same": bool((sizes == sizes.iloc[0]).all(axis=None)),
        **{
            name: tuple(int(side) for side in sizes.loc[order[place]])
            for name, place in places.items()
        },
    }


def rejected(table: pd.DataFrame, image: Callable[[str], Thumbnail | None]) -> dict[str, Any]:
    """Group the rejected files by reason.

    Parameters
    ----------
    table : DataFrame
        ``path``, ``reason``, ``detail``.
    image : callable
        Thumbnail of the file at a path, if there is one.
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
                "shown": [file for file in files if file["image"]],
                "listed": [file for file in files if not file["image"]],
                "more": int(number) - len(files),
            }
        )
    return {"count": len(table), "groups": groups}


def choose(predictions: Predictions, count: int, seed: int) -> dict[str, list[int]]:
    """Choose the rows of the predictions that the page shows, by group.

    Parameters
    ----------
    predictions : Predictions
    count : int
        Images of the grid; fewer where there are fewer.
    seed : int
        Draws the grid, each image by its path, so that other images in the split change nothing.

    Returns
    -------
    dict of str to list of int
        ``grid`` (drawn), ``worst`` (mistakes, the most confident first), ``most`` and ``least``
        certain.
    """
    rows, certainty = predictions.rows, predictions.model.max(axis=1)
    wrong = (rows["label"] != rows["predicted"]).to_numpy()
    drawn = sorted(
        range(len(rows)),
        key=lambda row: uniform(seed, "make_report", str(rows["path"].iloc[row])),
    )
    # Stable, so that ties are in the order of the paths.
    falling = np.argsort(-certainty, kind="stable")
    rising = np.argsort(certainty, kind="stable")
    return {
        "grid": drawn[:count],
        "worst": [int(row) for row in falling if wrong[row]][:_EACH],
        "most": [int(row) for row in falling][:_EACH],
        "least": [int(row) for row in rising][:_EACH],
    }


def cards(
    chosen: dict[str, list[int]],
    predictions: Predictions,
    classes: Sequence[str],
    images: Path,
    manifest: pd.DataFrame,
) -> dict[str, list[dict[str, Any]]]:
    """Return what the page shows of each chosen image.

    Parameters
    ----------
    chosen : dict of str to list of int
        The result of :func:`choose`.
    predictions : Predictions
    classes : sequence of str
        In the order of the outputs.
    images : Path
        Folder of the shards.
    manifest : DataFrame
        With a row for each test image, in any order.
    """
    places = manifest.set_index("path")
    made: dict[int, dict[str, Any]] = {}
    with ShardReader(images) as reader:
        for row in sorted({row for rows in chosen.values() for row in rows}):
            record, content = predictions.rows.iloc[row], b""
            if record["path"] in places.index:
                place = places.loc[record["path"]]
                shard, offset, length = (int(place[name]) for name in ("shard", "offset", "bytes"))
                content = reader.read(shard, offset, length, record["image_id"])
            made[row] = _card(record, predictions.model[row], classes, content)
    return {group: [made[row] for row in rows] for group, rows in chosen.items()}


def _card(
    record: Any, probabilities: Any, classes: Sequence[str], content: bytes
) -> dict[str, Any]:
    try:
        image = thumbnail(content)
    except ImageError:
        image = None
    order = np.argsort(-probabilities, kind="stable")[:3]
    return {
        "image": image,
        "path": record["path"],
        "label": record["label"],
        "predicted": record["predicted"],
        "correct": record["label"] == record["predicted"],
        "probability": float(probabilities.max()),
        "own": float(probabilities[list(classes).index(record["label"])]),
        "first": [(classes[i], float(probabilities[i])) for i in order],
    }
