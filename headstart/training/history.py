"""Training histories as CSV: one row per epoch, one row per batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headstart._utils.errors import CorruptFileError
from headstart._utils.files import write_text

if TYPE_CHECKING:
    # Costs a second, which a stage that only writes no epochs does not wait for.
    import pandas as pd

#: ``epoch`` counts from 1. Losses and accuracies are means over the epoch's images;
#: the ones on train are measured while the weights change, with dropout on.
EPOCHS: Mapping[str, str] = {
    "epoch": "int64",
    "loss": "float64",
    "accuracy": "float64",
    "val_loss": "float64",
    "val_accuracy": "float64",
    "learning_rate": "float64",
}
#: ``step`` counts from 1 over all epochs.
BATCHES: Mapping[str, str] = {
    "step": "int64",
    "epoch": "int64",
    "loss": "float64",
    "accuracy": "float64",
}


@dataclass(frozen=True)
class History:
    """The measurements of a training.

    Attributes
    ----------
    epochs : DataFrame
        Columns of :data:`EPOCHS`.
    batches : DataFrame
        Columns of :data:`BATCHES`.
    best_epoch : int
        The epoch whose weights the model has now; counts from 1.
    stopped_early : bool
        True if patience ran out before the epochs did.
    """

    epochs: pd.DataFrame
    batches: pd.DataFrame
    best_epoch: int
    stopped_early: bool


def write_no_epochs(path: Path) -> None:
    """Write the history of a training that was not run."""
    write_text(path, ",".join(EPOCHS) + "\n")


def _write(path: Path, table: pd.DataFrame, *, columns: Mapping[str, str]) -> None:
    table = table[list(columns)].astype(dict(columns))
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def _read(path: Path, *, columns: Mapping[str, str]) -> pd.DataFrame:
    from headstart.datasets.manifests import read_table

    table = read_table(path, columns, "a history")
    if not np.isfinite(table.to_numpy(np.float64)).all():
        raise CorruptFileError(f"{path} holds numbers that are not finite.")
    counter = next(iter(columns))
    if list(table[counter]) != list(range(1, len(table) + 1)):
        raise CorruptFileError(f"{path}: the column {counter} does not count 1, 2, 3 …")
    return table


#: Write or read and check the history of epochs, or that of batches.
write_epochs = partial(_write, columns=EPOCHS)
read_epochs = partial(_read, columns=EPOCHS)
write_batches = partial(_write, columns=BATCHES)
read_batches = partial(_read, columns=BATCHES)
