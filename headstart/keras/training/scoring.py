"""How good a model is on a source of batches: loss and accuracy, from logits."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from headstart.keras.runtime import keras, tf
from headstart.keras.training.batches import BatchSource, filled

Loss = Literal["categorical_crossentropy", "binary_crossentropy"]

_AT_ONCE = 256
#: What a batch takes as float32 before the model: with large rows, and the larger activations that
#: come of them, fewer go at once (34 images at 224 pixels).
_BATCH_BYTES = 20 << 20
_UNKNOWN = 32


def score(model: Any, source: BatchSource, loss: Loss) -> tuple[float, float]:
    """Mean loss and accuracy (share of right first guesses) of a model of inputs to logits."""
    return Scorer(model, source, loss)()


class Scorer:
    """Loss and accuracy over a whole source, in batches of one shape."""

    def __init__(self, model: Any, source: BatchSource, loss: Loss) -> None:
        self.model, self.source, self.loss = model, source, loss
        order = np.arange(len(source), dtype=np.int32)
        self.rows, self.mask = filled(order, min(at_once(source), len(source)))
        self.inputs = None if source.array is None else tf.constant(source.array)
        self.labels = tf.constant(source.labels)
        self.many = tf.function(self._many, autograph=False)
        self.one = tf.function(self._one, autograph=False, reduce_retracing=True)

    def __call__(self) -> tuple[float, float]:
        """Mean loss and accuracy."""
        if self.inputs is not None:
            found = [value.numpy() for value in self.many(self.rows, self.mask)]
        else:
            pairs = []
            for step, inputs in enumerate(self.source.ahead(self.rows, self.mask, 0)):
                labels = tf.constant(self.source.labels[self.rows[step]])
                pair = self.one(tf.constant(inputs), labels, tf.constant(self.mask[step]))
                pairs.append([value.numpy() for value in pair])
            found = list(np.array(pairs).T)
        loss, accuracy = (
            float(np.sum(value, dtype=np.float64)) / len(self.source) for value in found
        )
        return loss, accuracy

    def _many(self, rows: Any, mask: Any) -> Any:
        def one(step: tuple[Any, Any]) -> tuple[Any, Any]:
            x, y = tf.gather(self.inputs, step[0]), tf.gather(self.labels, step[0])
            return self._one(x, y, step[1])

        return tf.map_fn(one, (rows, mask), fn_output_signature=(tf.float32, tf.float32))

    def _one(self, x: Any, y: Any, mask: Any) -> tuple[Any, Any]:
        logits = self.model(tf.cast(x, tf.float32), training=False)
        loss = tf.reduce_sum(mask * loss_of_each(self.loss, y, logits))
        return loss, tf.reduce_sum(mask * right_guesses(y, logits))


def at_once(source: BatchSource) -> int:
    """Rows of a source that a model can take together in little memory; at least one."""
    if source.row_values is None:
        return _UNKNOWN
    return max(1, min(_AT_ONCE, _BATCH_BYTES // (4 * max(1, source.row_values))))


def loss_of_each(loss: Loss, y: Any, logits: Any) -> Any:
    """Loss of each image, from logits: finite however sure a mistake is.

    A single column of logits is that of class 1 against class 0.
    """
    if logits.shape[-1] == 1:
        wanted = tf.cast(y, logits.dtype)[:, None]
        return keras.losses.binary_crossentropy(wanted, logits, from_logits=True)
    if loss == "categorical_crossentropy":
        return keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
    wanted = tf.one_hot(y, logits.shape[-1])
    return keras.losses.binary_crossentropy(wanted, logits, from_logits=True)


def right_guesses(y: Any, logits: Any) -> Any:
    """1 where the first guess is the label. Never the share of right outputs of a sigmoid head:
    with 102 classes, saying "none" to every one of them would score 99 %.
    """
    if logits.shape[-1] == 1:  # Class 1 where its logit is above 0; a tie goes to the first class.
        return tf.cast(tf.equal(tf.cast(logits[:, 0] > 0, y.dtype), y), tf.float32)
    return tf.cast(tf.equal(tf.argmax(logits, axis=-1, output_type=y.dtype), y), tf.float32)
