"""Which test images a page shows, and what it says under each of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from headstart._utils.errors import ImageError
from headstart._utils.seeds import uniform
from headstart.datasets.shards import ShardReader
from headstart.evaluation.predictions import Predictions
from headstart.report.thumbnails import thumbnail

_EACH = 12  # images of the worst, the most and the least certain


def choose(predictions: Predictions, count: int, seed: int) -> dict[str, list[int]]:
    """Rows of the predictions for each group.

    Parameters
    ----------
    predictions : Predictions
    count : int
        Images of the grid; fewer where there are fewer.
    seed : int
        Draws the grid, each image by its path: the same ones whatever else is in the split.

    Returns
    -------
    dict of str to list of int
        ``grid`` (drawn), ``worst`` (mistakes, the surest first), ``most`` and ``least`` certain.
    """
    rows, certainty = predictions.rows, predictions.model.max(axis=1)
    wrong = (rows["label"] != rows["predicted"]).to_numpy()
    drawn = sorted(
        range(len(rows)),
        key=lambda row: uniform(seed, "make_report", str(rows["path"].iloc[row])),
    )
    # Stable, so that ties stand in the order of the paths.
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
    """What the page shows of each chosen image.

    Parameters
    ----------
    chosen : dict of str to list of int
        As :func:`choose` gives them.
    predictions : Predictions
    classes : sequence of str
        In the order of the outputs.
    images : Path
        Folder of the shards.
    manifest : DataFrame
        Rows of the test images, in the order of the predictions or not.
    """
    places = manifest.set_index("path")
    made: dict[int, dict[str, Any]] = {}
    with ShardReader(images) as reader:
        for row in sorted({row for rows in chosen.values() for row in rows}):
            path = predictions.rows["path"].iloc[row]
            place = places.loc[path] if path in places.index else None
            content = (
                b""
                if place is None
                else reader.read(
                    int(place["shard"]),
                    int(place["offset"]),
                    int(place["bytes"]),
                    predictions.rows["image_id"].iloc[row],
                )
            )
            made[row] = _card(predictions, row, classes, content)
    return {group: [made[row] for row in rows] for group, rows in chosen.items()}


def _card(
    predictions: Predictions, row: int, classes: Sequence[str], content: bytes
) -> dict[str, Any]:
    try:
        image = thumbnail(content)
    except ImageError:
        image = None
    record, probabilities = predictions.rows.iloc[row], predictions.model[row]
    order = np.argsort(-probabilities, kind="stable")[:3]
    own = list(classes).index(record["label"])
    return {
        "image": image,
        "path": record["path"],
        "label": record["label"],
        "predicted": record["predicted"],
        "right": record["label"] == record["predicted"],
        "probability": float(probabilities.max()),
        "own": float(probabilities[own]),
        "first": [(classes[i], float(probabilities[i])) for i in order],
    }
