"""A trained model on images: logits and probabilities by NumPy and LiteRT, without TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart._utils.errors import CorruptFileError
from headstart._utils.progress import progress
from headstart.backbones.litert import LiteRTPool
from headstart.datasets.shards import ShardReader
from headstart.features.extraction import Passes
from headstart.features.store import row_bytes
from headstart.training import activations
from headstart.training.head import activate, head_logits, output_activation
from headstart.training.model_folder import LOWER, UPPER, ModelRecord, read_head


@dataclass(frozen=True)
class Outputs:
    """A model's outputs for n images.

    Attributes
    ----------
    logits : ndarray of shape (n, n_classes), float64
    probabilities : ndarray of shape (n, n_classes), float32
    passes : Passes or None
        Through the frozen part of a fine-tuned backbone.
    """

    logits: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float32]
    passes: Passes | None = None


def head_outputs(
    folder: Path, record: ModelRecord, features: npt.NDArray[np.floating[Any]]
) -> Outputs:
    """Run a head-only model on features of shape (n, *feature_shape)."""
    logits = head_logits(record.head, read_head(folder, record), features)
    return Outputs(logits, activate(output_activation(record.head), logits))


def fine_tuned_outputs(
    folder: Path, record: ModelRecord, images: Path, rows: pd.DataFrame
) -> Outputs:
    """Run a fine-tuned model on images, through the feature store.

    Parameters
    ----------
    folder : Path
        Of a model of kind ``fine_tuned``.
    record : ModelRecord
    images : Path
        Folder of shards.
    rows : DataFrame
        Rows of a manifest, in the order of the result.

    Raises
    ------
    HeadstartError
        If the store's disk has no room for the activations that it lacks; or as
        :func:`headstart.features.extraction.extract`.
    """
    weights = read_head(folder, record)
    lower, upper = folder / LOWER, folder / UPPER
    # Where all layers were trained, the upper network is the whole backbone. Its features are
    # cached all the same: a second evaluation then costs no pass.
    first, second = (lower, upper) if lower.exists() else (upper, None)
    size, ids = record.backbone.image_size, list(rows["image_id"])
    blocks = []
    with activations.open_store(first, size) as store:
        activations.check_room(store, ids)
        with ShardReader(images) as reader:
            desc = "Activations of the test images"
            passes = activations.fill(store, first, rows, reader, size, desc)
        block = activations.rows_at_once(row_bytes(store.shape))
        top = None if second is None else LiteRTPool(second)
        with progress(len(rows), "Classifying", "image") as bar:
            for start in range(0, len(rows), block):
                features = store.array(ids[start : start + block])
                if top is not None:
                    features = activations.run_network(top, features)
                if features.shape[1:] != record.feature_shape:
                    raise CorruptFileError(
                        f"The networks of {folder} give features of shape {features.shape[1:]}, "
                        f"its head reads {record.feature_shape}. Run the stage fine_tune again."
                    )
                blocks.append(head_logits(record.head, weights, features))
                bar.update(len(features))
    logits = np.concatenate(blocks)
    return Outputs(logits, activate(output_activation(record.head), logits), passes)
