"""Run the epochs of a training: report them, keep and restore weights, and stop early."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
import pandas as pd

from headstart._utils.errors import DivergedError
from headstart.training.checkpoint import Array, Progress
from headstart.training.history import BATCHES, EPOCHS, History
from headstart.training.scores import rate_hint
from headstart.training.settings import FitSettings

_MEASURES = ("loss", "accuracy")


class Trainer(Protocol):
    """A model in training, which :func:`run_epochs` drives."""

    def epoch(self, epoch: int) -> pd.DataFrame:
        """Train for an epoch; return loss, accuracy and count of images of each batch."""

    def validate(self, epoch: int) -> tuple[float, float]:
        """Return the loss that chooses between epochs, and the accuracy, on validation."""

    def rate(self, epoch: int) -> float:
        """Return the learning rate of the last step of an epoch."""

    def weights(self) -> list[Array]:
        """Return a copy of all weights."""

    def restore(self, weights: list[Array]) -> None:
        """Restore a copy of the weights."""


def run_epochs(
    trainer: Trainer,
    settings: FitSettings,
    say: Callable[[str], None],
    now: Progress,
    keep: Callable[[], None] = lambda: None,
) -> History:
    """Train until the epochs or the patience end; report one line per epoch.

    Parameters
    ----------
    trainer : Trainer
        It has the weights of the history's ``best_epoch`` in the end.
    settings : FitSettings
    say : callable
    now : Progress
        Empty, or the state from which the trainer resumes; it follows the training.
    keep : callable
        Called after each epoch.
    """
    while not _finished(now, settings):
        epoch = len(now.epochs) + 1
        table = trainer.epoch(epoch)
        row = {name: float(np.average(table[name], weights=table["count"])) for name in _MEASURES}
        row["val_loss"], row["val_accuracy"] = trainer.validate(epoch)
        improved = row["val_loss"] < (
            now.epochs[now.best - 1]["val_loss"] if now.best else math.inf
        )
        now.batches.append({str(name): column.to_numpy() for name, column in table.items()})
        now.epochs.append({"epoch": epoch, **row, "learning_rate": trainer.rate(epoch)})
        if improved:
            now.best = epoch
            now.kept = trainer.weights() if settings.patience is not None else None
        keep()
        say(_line(epoch, settings.epochs, row, improved=improved))
    last = len(now.epochs)
    if now.kept is not None and now.best != last:
        trainer.restore(now.kept)
    return History(
        epochs=pd.DataFrame(now.epochs, columns=list(EPOCHS)).astype(dict(EPOCHS)),
        batches=_numbered([pd.DataFrame(columns) for columns in now.batches]),
        best_epoch=last if settings.patience is None else now.best,
        stopped_early=last < settings.epochs,
    )


def batch_table(epoch: int, losses: Array, correct: Array, counts: Array) -> pd.DataFrame:
    """Return the measurements of an epoch's batches, from sums over the images that count."""
    return pd.DataFrame(
        {"epoch": epoch, "loss": losses / counts, "accuracy": correct / counts, "count": counts}
    )


def diverged(where: str, settings: FitSettings) -> DivergedError:
    """Return the error about a loss that is no longer a finite number."""
    return DivergedError(
        f"Training diverged: the loss is not a finite number {where}. Nothing was written. "
        + rate_hint(settings.learning_rate)
    )


def _finished(now: Progress, settings: FitSettings) -> bool:
    last, patience = len(now.epochs), settings.patience
    return last >= settings.epochs or (patience is not None and last - now.best >= patience)


def _line(epoch: int, epochs: int, row: dict[str, float], *, improved: bool) -> str:
    return (
        f"Epoch {epoch:>{len(str(epochs))}} of {epochs}: "
        f"loss {row['loss']:.4f}, accuracy {row['accuracy']:.4f}; "
        f"validation loss {row['val_loss']:.4f}, accuracy {row['val_accuracy']:.4f}"
        f"{' *' if improved else ''}"
    )


def _numbered(batches: list[pd.DataFrame]) -> pd.DataFrame:
    table = pd.concat(batches, ignore_index=True)
    table["step"] = np.arange(1, len(table) + 1)
    return table[list(BATCHES)].astype(dict(BATCHES))
