"""Activations where a fine-tuned base was divided: features too, recorded like them.

The layers below the cut are frozen, so what they make of a picture never changes: training and
evaluation take it from one store, whose fingerprint is the sha256 of the network itself.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from stages.artifacts.feature_store import FeatureStore
from stages.artifacts.shards import ShardReader
from stages.core.files import sha256_file
from stages.engine.extraction import Passes, cores, extract, interpreters
from stages.engine.litert import LiteRTFunction
from stages.imaging.pixels import SPEC

_ARCHITECTURES = {"amd64": "x86_64", "aarch64": "arm64"}


def activations_record(lower: Path) -> dict[str, Any]:
    """The fingerprint record of a ``lower.tflite`` (pixels to activations); JSON values."""
    machine = platform.machine().lower()
    return {
        "what": "activations at a cut",
        "network_sha256": sha256_file(lower),
        "pixels": SPEC,
        "engine": "litert",
        "engine_versions": {"ai-edge-litert": metadata.version("ai-edge-litert")},
        "machine": _ARCHITECTURES.get(machine, machine),
    }


@contextmanager
def activations(
    lower: Path, images: Path, rows: pd.DataFrame, desc: str
) -> Iterator[tuple[FeatureStore, Passes]]:
    """Record what ``lower`` makes of the pictures, and lend the store that holds it.

    Parameters
    ----------
    lower : Path
        A ``.tflite`` from uint8 pixels to the activations at the cut.
    images : Path
        Folder of shards.
    rows : DataFrame
        Rows of a manifest: image_id, path, shard, offset, bytes.
    desc : str
        What is done, for the progress.

    Yields
    ------
    FeatureStore
        Has every picture of ``rows``.
    Passes
        How many were passed now, and how many the store had.
    """
    one = LiteRTFunction(lower)
    count, threads = interpreters(lower.stat().st_size, cores())
    with FeatureStore.open(activations_record(lower), one.output_shape) as store:
        with ShardReader(images) as reader:
            passes = extract(
                rows,
                reader,
                partial(LiteRTFunction, lower, threads),
                one.input_shape[0],
                store,
                desc,
                functions=count,
            )
        yield store, passes
