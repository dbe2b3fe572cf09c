"""Checkpoints of a training: after a kill, the next run resumes after the last complete epoch.

A checkpoint holds everything that later epochs depend on: the weights with their moving statistics
and the state of dropout's generators, the optimizer, the best weights so far and the history. The
order of the images and their augmented views follow from the number of the epoch. So a training
that was resumed ends with the bytes of one that was not interrupted.

They are in the cache folder, because DVC deletes a stage's outputs before it runs. The file is
named by the hash of everything that decides the result: another training never finds it.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart._utils.cache import cache_folder
from headstart._utils.files import atomic_file

Array = npt.NDArray[Any]
_KEPT_DAYS = 30
_DAY = 86_400.0
_LISTS = ("model", "optimizer", "kept")


@dataclass
class Progress:
    """The state of a training after some epochs.

    Attributes
    ----------
    epochs : list of dict
        The history's rows.
    batches : list of dict of str to ndarray
        The columns of the history of batches, for each epoch.
    best : int
        The epoch with the lowest validation loss; 0 before the first.
    kept : list of ndarray or None
        The weights of that epoch, if they are needed.
    model, optimizer : list of ndarray
        All variables, in their order.
    """

    epochs: list[dict[str, float]] = field(default_factory=list)
    batches: list[dict[str, Array]] = field(default_factory=list)
    best: int = 0
    kept: list[Array] | None = None
    model: list[Array] = field(default_factory=list)
    optimizer: list[Array] = field(default_factory=list)


def checkpoints_folder() -> Path:
    """Return the folder of all checkpoints: ``$HEADSTART_CACHE/checkpoints``, or the user's."""
    return cache_folder() / "checkpoints"


class Checkpoint:
    """The file that a training resumes from.

    Parameters
    ----------
    identity : str
        Hex SHA-256 of everything that decides the training's result.
    """

    def __init__(self, identity: str) -> None:
        self.path = checkpoints_folder() / f"{identity}.npz"
        self._writes = True

    def load(self) -> Progress | None:
        """Return the state after the last complete epoch; None if there is no intact one."""
        if not self.path.is_file():
            return None
        try:
            return _read(self.path)
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, EOFError) as error:
            self._say(
                f"{self.path} is damaged ({error}) and is not used. The training starts over."
            )
            return None

    def save(self, progress: Progress) -> None:
        """Replace the file. If it cannot be written, report it once: the training continues."""
        if not self._writes:
            return
        try:
            self._sweep()
            with atomic_file(self.path) as file:
                np.savez(file, allow_pickle=False, **_arrays(progress))
        except OSError as error:
            self._writes = False
            self._say(
                f"No checkpoint can be written to {self.path.parent}: {error.strerror or error}. "
                "The training continues; after a kill it would start over."
            )

    def drop(self) -> None:
        """Delete the file, because the result of the training is written."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Delete the checkpoints of trainings that were never resumed."""
        if self.path.exists():
            return
        for old in self.path.parent.glob("*.npz"):
            with contextlib.suppress(OSError):
                if time.time() - old.stat().st_mtime > _KEPT_DAYS * _DAY:
                    old.unlink()

    @staticmethod
    def _say(message: str) -> None:
        print(message, file=sys.stderr, flush=True)


def _arrays(progress: Progress) -> dict[str, Array]:
    record = {
        "epochs": progress.epochs,
        "best": progress.best,
        "kept": progress.kept is not None,
        "counts": {name: len(getattr(progress, name) or []) for name in _LISTS},
        "columns": [sorted(table) for table in progress.batches],
    }
    found = {"record": np.frombuffer(json.dumps(record).encode(), np.uint8)}
    for name in _LISTS:
        found |= {f"{name}_{i}": array for i, array in enumerate(getattr(progress, name) or [])}
    for epoch, table in enumerate(progress.batches):
        found |= {f"batches_{epoch}_{name}": column for name, column in table.items()}
    return found


def _read(path: Path) -> Progress:
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
        record: Mapping[str, Any] = json.loads(file["record"].tobytes())

        def several(name: str) -> list[Array]:
            return [file[f"{name}_{i}"] for i in range(record["counts"][name])]

        columns: Sequence[Sequence[str]] = record["columns"]
        return Progress(
            epochs=record["epochs"],
            batches=[
                {name: file[f"batches_{epoch}_{name}"] for name in names}
                for epoch, names in enumerate(columns)
            ],
            best=record["best"],
            kept=several("kept") if record["kept"] else None,
            model=several("model"),
            optimizer=several("optimizer"),
        )
