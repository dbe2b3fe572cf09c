"""Which images an exported form is compared and calibrated on, and their pixels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import HeadstartError
from headstart._utils.seeds import derive
from headstart.datasets.shards import ShardReader

if TYPE_CHECKING:
    import pandas as pd

Pixels = npt.NDArray[np.uint8]


def choose(count: int, wanted: int) -> list[int]:
    """Evenly spaced rows: the same ones for the same numbers, and from every class."""
    return sorted({round(float(x)) for x in np.linspace(0, count - 1, min(count, wanted))})


def locate(images: pd.DataFrame, manifest: pd.DataFrame) -> pd.DataFrame:
    """The manifest's rows of some evaluated images, in their order.

    Raises
    ------
    HeadstartError
        If one is not in the manifest.
    """
    by_path = manifest.set_index("path", drop=False)
    unknown = [path for path in images["path"] if path not in by_path.index]
    if unknown:
        raise HeadstartError(
            f"The predictions speak of {unknown[0]!r}, which the manifest does not list. They come "
            "from different runs. Nothing was exported. Run the pipeline (`dvc repro`)."
        )
    return by_path.loc[images["path"].tolist()]


def load(images: Path, rows: pd.DataFrame, size: int) -> tuple[list[bytes], Pixels]:
    """The files of some rows of a manifest, and their pixels, (n, size, size, 3)."""
    from headstart.images.resize import pixels

    columns = (rows[name].tolist() for name in ("shard", "offset", "bytes", "image_id"))
    with ShardReader(images) as reader:
        contents = [reader.read(*place) for place in zip(*columns, strict=True)]
    return contents, np.stack([pixels(content, size) for content in contents])


def calibrating(table: pd.DataFrame, wanted: int, seed: int) -> pd.DataFrame:
    """Training images drawn by the seed, in the manifest's order; all if there are fewer."""
    training = table[table["split"] == "train"]
    generator = np.random.Generator(np.random.Philox(key=derive(seed, "export", "calibration")))
    return training.iloc[np.sort(generator.permutation(len(training))[:wanted])]
