"""Training and scoring with Keras' layers, losses and optimizers in a loop of our own.

``Model.fit`` spends most of an epoch on cached features between the batches, and hides their
losses where several run in one call. Here hundreds of batches run in one graph, in an order drawn
by NumPy, and all batches have one shape: nothing is traced twice, no bit depends on a remainder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart._utils.progress import progress
from headstart.keras.runtime import tf
from headstart.keras.training.scoring import Scorer, loss_of_each, right_guesses
from headstart.keras.training.settings import optimizer_of, schedule_of
from headstart.training.batches import (
    Batch,
    BatchSource,
    Indices,
    Mask,
    epoch_batches,
)
from headstart.training.checkpoint import Checkpoint, Progress
from headstart.training.epochs import batch_table, diverged, run_epochs
from headstart.training.history import History
from headstart.training.settings import FitSettings

#: Batches in one call of the graph: an interrupt takes effect between two calls.
_STEPS_A_CALL = 256


def fit(
    model: Any,
    train: BatchSource,
    validation: BatchSource,
    settings: FitSettings,
    say: Callable[[str], None] = print,
    checkpoint: Checkpoint | None = None,
) -> History:
    """Train ``model`` in place; report one line per epoch.

    Parameters
    ----------
    model : keras.Model, or a built keras.Layer
        Inputs (as float32) to **logits** of shape (batch, n_classes), or (batch, 1) for two
        classes: the loss applies the activation itself. Its ``trainable_variables`` are trained,
        its moving statistics follow.
        It is called with ``training=True``; a part that must stay in inference mode sees to that
        itself. Only variables of this model are kept and restored, so give the part that learns,
        not a frozen backbone below it.
    train, validation : BatchSource
        Validation is scored as a whole after each epoch.
    settings : FitSettings
        Batches have ``min(batch_size, len(train))`` rows, the last one too: it is filled up with
        the first images of the same epoch, which weigh nothing in loss and gradient, and let
        batch normalization see a whole batch.
    checkpoint : Checkpoint, optional
        Written after each epoch; the training resumes after the last epoch that it holds, with the
        same results as without an interruption.

    Returns
    -------
    History
        The model has the weights of its ``best_epoch``.

    Raises
    ------
    HeadstartError
        If a loss is no longer a finite number.
    """
    trainer = _Trainer(model, train, validation, settings)
    now = (checkpoint and checkpoint.load()) or Progress()
    if now.epochs:
        trainer.resume(now)
        say(f"Resumed after epoch {len(now.epochs)} of {settings.epochs}.")

    def keep() -> None:
        if checkpoint is not None:
            now.model, now.optimizer = trainer.state()
            checkpoint.save(now)

    return run_epochs(trainer, settings, say, now, keep)


class _Trainer:
    """A model, its optimizer, and the graphs of training and validation."""

    def __init__(
        self, model: Any, train: BatchSource, validation: BatchSource, settings: FitSettings
    ) -> None:
        self.model, self.train, self.settings = model, train, settings
        self.batch = min(settings.batch_size, len(train))
        self.variables = model.trainable_variables
        self.steps = settings.steps_per_epoch or -(-len(train) // self.batch)
        self.schedule = schedule_of(settings, self.steps)
        self.optimizer = optimizer_of(settings, self.schedule, self.variables)
        self.score = Scorer(model, validation, settings.loss)
        weights = settings.class_weights
        self.class_weights = None if weights is None else tf.constant(weights, tf.float32)
        self.step = _Steps(train, self._one)

    def epoch(self, epoch: int) -> pd.DataFrame:
        """Train for an epoch; return loss, accuracy and count of images of each batch."""
        settings = self.settings
        rows, mask = epoch_batches(
            len(self.train), self.batch, epoch, settings.steps_per_epoch, settings.seed
        )
        with progress(len(rows), f"Epoch {epoch} of {settings.epochs}", "batch") as bar:
            losses, correct = self.step(rows, mask, epoch, bar.update)
        bad = np.flatnonzero(~np.isfinite(losses))
        if len(bad):
            raise diverged(f"in epoch {epoch}, batch {bad[0] + 1}", settings)
        counts = mask.sum(axis=1, dtype=np.float64)
        return batch_table(epoch, losses, correct, counts)

    def rate(self, epoch: int) -> float:
        """Return the learning rate of the last step of an epoch."""
        if isinstance(self.schedule, float):
            return self.schedule
        return float(self.schedule(epoch * self.steps - 1))

    def validate(self, epoch: int) -> tuple[float, float]:
        """Return loss, with the best temperature if it is asked for, and accuracy."""
        loss, accuracy = self.score(calibrated=self.settings.calibrated, doubt=self.settings.doubt)
        if not math.isfinite(loss):
            raise diverged(f"on the validation split after epoch {epoch}", self.settings)
        return loss, accuracy

    def weights(self) -> list[Batch]:
        """Return a copy of the model's weights and moving statistics."""
        return [np.array(variable.numpy()) for variable in self.model.weights]

    def restore(self, weights: list[Batch]) -> None:
        """Restore a copy of the weights."""
        for variable, value in zip(self.model.weights, weights, strict=True):
            variable.assign(value)

    def state(self) -> tuple[list[Batch], list[Batch]]:
        """Return copies of all variables of the model, generators too, and of the optimizer."""
        return tuple(  # type: ignore[return-value]  # two of them
            [np.array(variable.numpy()) for variable in variables]
            for variables in (self.model.variables, self.optimizer.variables)
        )

    def resume(self, state: Progress) -> None:
        """Restore the variables of a checkpoint."""
        for variables, values in (
            (self.model.variables, state.model),
            (self.optimizer.variables, state.optimizer),
        ):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)

    def _one(self, x: Any, y: Any, mask: Any) -> tuple[Any, Any]:
        """Train on one batch; return the sums of loss and correct answers where the mask is 1."""
        factors = mask
        if self.class_weights is not None:
            factors = mask * tf.gather(self.class_weights, y)
        values = [variable.value for variable in self.variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            logits = self.model(tf.cast(x, tf.float32), training=True)
            smoothing = self.settings.label_smoothing
            total = tf.reduce_sum(factors * loss_of_each(self.settings.loss, y, logits, smoothing))
            objective = total / tf.reduce_sum(mask)
            # Regularization, where the model has any.
            objective += sum(self.model.losses)
        self.optimizer.apply(tape.gradient(objective, values), self.variables)
        return total, tf.reduce_sum(mask * right_guesses(y, logits))


class _Steps:
    """A step on one batch, taken for many: in one graph if the inputs are in memory.

    Parameters
    ----------
    source : BatchSource
    step : callable
        From inputs, labels and mask of a batch to its sums of loss and of right answers.
    """

    def __init__(self, source: BatchSource, step: Callable[[Any, Any, Any], Any]) -> None:
        self._source, self._step = source, step
        self._inputs = None if source.array is None else tf.constant(source.array)
        self._labels = tf.constant(source.labels)
        self._many = tf.function(self._loop, autograph=False, reduce_retracing=True)
        self._one = tf.function(step, autograph=False, reduce_retracing=True)

    def __call__(
        self, rows: Indices, mask: Mask, epoch: int, done: Callable[[int], None] = lambda _: None
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the sums of each batch; ``done`` receives how many batches are done."""
        losses, correct = np.empty(len(rows)), np.empty(len(rows))
        for part, found in self._parts(rows, mask, epoch):
            losses[part], correct[part] = (value.numpy() for value in found)
            done(part.stop - part.start)
        return losses, correct

    def _parts(self, rows: Indices, mask: Mask, epoch: int) -> Iterator[tuple[slice, Any]]:
        if self._inputs is None:
            for step, inputs in enumerate(self._source.ahead(rows, mask, epoch)):
                labels = tf.constant(self._source.labels[rows[step]])
                found = self._one(tf.constant(inputs), labels, tf.constant(mask[step]))
                yield slice(step, step + 1), found
            return
        for start in range(0, len(rows), _STEPS_A_CALL):
            part = slice(start, min(start + _STEPS_A_CALL, len(rows)))
            yield part, self._many(tf.constant(rows[part]), tf.constant(mask[part]))

    def _loop(self, rows: Any, mask: Any) -> tuple[Any, Any]:
        steps = tf.shape(rows)[0]

        def body(step: Any, losses: Any, correct: Any) -> tuple[Any, Any, Any]:
            x, y = tf.gather(self._inputs, rows[step]), tf.gather(self._labels, rows[step])
            loss, right = self._step(x, y, mask[step])
            return step + 1, losses.write(step, loss), correct.write(step, right)

        empty = tf.TensorArray(tf.float32, steps), tf.TensorArray(tf.float32, steps)
        # One step after the other: in training, each starts from the weights of the last one.
        _, losses, correct = tf.while_loop(
            lambda step, *_: step < steps, body, (0, *empty), parallel_iterations=1
        )
        return losses.stack(), correct.stack()  # noqa: PD013 (no data frame)
