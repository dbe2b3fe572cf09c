"""Loss and right guesses of a model that gives logits: of each image, and over a whole source."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.keras.runtime import keras, tf
from headstart.training.batches import (
    BatchSource,
    filled,
)
from headstart.training.calibration import score_logits
from headstart.training.parameters import (
    Loss,
)

#: Rows that are scored at once: at most this many, and this many bytes of float32 inputs (34
#: images at 224 pixels), because large rows have large activations.
_SCORED_AT_ONCE = 256
_SCORED_BYTES = 20 << 20
_SCORED_OF_UNKNOWN_SIZE = 32


def score(model: Any, source: BatchSource, loss: Loss) -> tuple[float, float]:
    """Return mean loss and accuracy (share of right first guesses) of a model that gives logits."""
    return Scorer(model, source, loss)()


class Scorer:
    """Loss and accuracy over a whole source, in batches of one shape."""

    def __init__(self, model: Any, source: BatchSource, loss: Loss) -> None:
        self.source, self.loss = source, loss
        order = np.arange(len(source), dtype=np.int32)
        self.rows, self.mask = filled(order, min(at_once(source), len(source)))
        self._inputs = None if source.array is None else tf.constant(source.array)
        self._forward = tf.function(
            lambda x: model(tf.cast(x, tf.float32), training=False), autograph=False,
            reduce_retracing=True,
        )  # fmt: skip

    def __call__(self, *, calibrated: bool = False, doubt: float = 0.0) -> tuple[float, float]:
        """Return mean loss, with the temperature that fits best if asked for, and accuracy."""
        return score_logits(
            self.logits(), self.source.labels, self.loss, calibrated=calibrated, doubt=doubt
        )

    def logits(self) -> npt.NDArray[np.float32]:
        """Return the model's outputs for all rows of the source."""
        batches = (
            self.source.ahead(self.rows, self.mask, 0)
            if self._inputs is None
            else (tf.gather(self._inputs, rows) for rows in self.rows)
        )
        found = [self._forward(tf.convert_to_tensor(batch)).numpy() for batch in batches]
        return np.concatenate(found)[: len(self.source)]


def at_once(source: BatchSource) -> int:
    """Return the number of rows that a model takes at once in little memory; at least 1."""
    if source.row_values is None:
        return _SCORED_OF_UNKNOWN_SIZE
    return max(1, min(_SCORED_AT_ONCE, _SCORED_BYTES // (4 * max(1, source.row_values))))


def loss_of_each(loss: Loss, y: Any, logits: Any, smoothing: float = 0.0) -> Any:
    """Return the loss of each image, from logits: finite however confident a mistake is.

    A single column of logits is that of class 1 against class 0. ``smoothing``: the share of each
    label that is spread over the classes.
    """
    smoothed = {"from_logits": True, "label_smoothing": smoothing}
    if logits.shape[-1] == 1:
        wanted = tf.cast(y, logits.dtype)[:, None]
        return keras.losses.binary_crossentropy(wanted, logits, **smoothed)
    if loss == "categorical_crossentropy" and not smoothing:
        return keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
    wanted = tf.one_hot(y, logits.shape[-1])
    if loss == "categorical_crossentropy":
        return keras.losses.categorical_crossentropy(wanted, logits, **smoothed)
    return keras.losses.binary_crossentropy(wanted, logits, **smoothed)


def right_guesses(y: Any, logits: Any) -> Any:
    """Return 1 where the first guess is the label, else 0.

    Never the share of right outputs of a sigmoid head: with 102 classes, "none of them" for every
    image would score 99 %.
    """
    if logits.shape[-1] == 1:  # Class 1 where its logit is above 0; a tie goes to the first class.
        return tf.cast(tf.equal(tf.cast(logits[:, 0] > 0, y.dtype), y), tf.float32)
    return tf.cast(tf.equal(tf.argmax(logits, axis=-1, output_type=y.dtype), y), tf.float32)
