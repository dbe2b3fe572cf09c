"""Way A, features once and a dense head on them, beside way B, the same head on the frozen
backbone.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from headstart.datasets.manifests import SPLITS, read_split
from headstart.datasets.shards import ShardReader
from headstart.images.formats import EXTENSIONS
from tools.claims.measure import Project, compared, first_guesses, share


def measure(project: Project, way_a: str) -> dict[str, Any]:
    """Run way B on what the run of way A, the project's latest one, left; compare both.

    Parameters
    ----------
    project : Project
    way_a : str
        Name of that run.
    """
    folder = project.checkout.folder
    images = folder.parent / "images"
    lay_out(folder / "data", images)
    equal = json.loads(way_b(project, "compare", folder)[1])
    seconds, printed = way_b(project, "train", folder, images)
    trained = json.loads(printed)
    predicted = trained.pop("predicted")
    result = project.results[way_a]
    first = first_guesses(project.predictions[way_a], "model", result["classes"])
    second = first.assign(predicted=first["image_id"].map(predicted))
    pair = compared(first, second)
    return {
        "before_training": equal,
        "way_b": {
            **share(pair["both"] + pair["second_only"], pair["shared"]),
            **trained,
            "seconds": round(seconds, 1),
        },
        "pair": pair,
    }


def way_b(project: Project, *words: str | Path) -> tuple[float, str]:
    """Seconds of a whole process of way B, and the JSON that it prints."""
    command = [sys.executable, "-m", "tools.claims.way_b", *map(str, words)]
    start = time.perf_counter()
    _, printed = project.checkout.run(*command)
    seconds = time.perf_counter() - start
    return seconds, next(line for line in reversed(printed.splitlines()) if line[:1] == "{")


def lay_out(data: Path, target: Path) -> None:
    """Write the images as the tutorial has them: split, class, file; named by their sha256."""
    rows = read_split(data / "manifests/sample.csv")
    with ShardReader(data / "images") as reader:
        for row in rows.itertuples():
            if row.split not in SPLITS:
                continue
            folder = target / str(row.split) / str(row.label)
            folder.mkdir(parents=True, exist_ok=True)
            # pandas has no types for the fields of a row.
            content = reader.read(row.shard, row.offset, row.bytes, str(row.image_id))  # type: ignore[arg-type]
            (folder / f"{row.image_id}.{EXTENSIONS[str(row.format)]}").write_bytes(content)
