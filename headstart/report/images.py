"""The sections of the page on images: the data set, the rejected files, and the predictions."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
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


def _rejected(folder: Path, path: str) -> Thumbnail | None:
    content = find_thumbnail(folder, path)
    if content is None:
        return None
    with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
        return _embedded(content, "jpeg", image.size)


def _embedded(content: bytes, kind: str, size: tuple[int, int]) -> Thumbnail:
    return Thumbnail(data_address(content, kind), *size, max(size) <= _MAGNIFIED)


def data_address(content: bytes, kind: str) -> str:
    """Return the ``data:`` address of an image file."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def counted(images: pd.DataFrame) -> dict[str, Any]:
    """Count the images in use by class and split.

    Parameters
    ----------
    images : DataFrame
        Rows of the sample manifest.
    """
    numbers = by_split(images)
    sums = numbers.sum(axis=1)
    return {
        "rows": [{"label": label, **row} for label, row in numbers.to_dict("index").items()],
        "totals": numbers.sum().to_dict(),
        "all": int(sums.sum()),
        "classes": len(numbers),
        "least": int(sums.min()) if len(sums) else 0,
        "most": int(sums.max()) if len(sums) else 0,
        "formats": images["format"].value_counts().sort_index().to_dict(),
        "bytes": int(images["bytes"].sum()),
    }


def by_split(images: pd.DataFrame) -> pd.DataFrame:
    """Return the number of images of each class (rows) in each split (columns)."""
    numbers = pd.crosstab(images["label"], images["split"])
    return numbers.reindex(columns=list(SPLITS), fill_value=0).sort_index()


def sized(images: pd.DataFrame) -> dict[str, Any]:
    """Return the sizes of the smallest, the median and the largest image, by pixels."""
    sizes = images[["width", "height"]]
    order = (sizes["width"] * sizes["height"]).sort_values(kind="stable").index
    least, middle, most = (
        tuple(int(side) for side in sizes.loc[order[place]]) for place in (0, len(order) // 2, -1)
    )
    same = bool((sizes == sizes.iloc[0]).all(axis=None))
    return {"same": same, "least": least, "middle": middle, "most": most}


def rejected(table: pd.DataFrame, folder: Path) -> dict[str, Any]:
    """Group the rejected files by reason.

    Parameters
    ----------
    table : DataFrame
        ``path``, ``reason``, ``detail``.
    folder : Path
        Folder of the thumbnails.
    """
    groups = []
    left = _NAMED
    for reason, number in table["reason"].value_counts().sort_index().items():
        rows = table[table["reason"] == reason].head(left)
        left -= len(rows)
        files = [
            {"path": row["path"], "detail": row["detail"], "image": _rejected(folder, row["path"])}
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
    paths, certainty = predictions.rows["path"].astype(str), predictions.model.max(axis=1)
    wrong = (predictions.rows["label"] != predictions.rows["predicted"]).to_numpy()
    drawn = np.argsort([uniform(seed, "make_report", path) for path in paths], kind="stable")
    # Stable, so that ties are in the order of the paths.
    falling, rising = (np.argsort(sign * certainty, kind="stable") for sign in (-1, 1))
    # None is both, whether there are few images or many that are equally certain.
    most = falling[: min(_EACH, len(certainty) // 2)]
    least = rising[~np.isin(rising, most)][: len(most)]
    return {
        "grid": drawn[:count].tolist(),
        "worst": falling[wrong[falling]][:_EACH].tolist(),
        "most": most.tolist(),
        "least": least.tolist(),
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
    columns = ["path", "shard", "offset", "bytes"]
    places = {path: place for path, *place in manifest[columns].itertuples(index=False, name=None)}
    made: dict[int, dict[str, Any]] = {}
    with ShardReader(images) as reader:
        for row in sorted({row for rows in chosen.values() for row in rows}):
            record = predictions.rows.iloc[row]
            content = b""
            if record["path"] in places:
                shard, offset, length = places[record["path"]]
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
