"""The section of the page on the trials of a fine-tuning, as plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headstart._utils.records import Facts, read_facts
from headstart.training.acceptance import LEVEL

FILE = "fine_tune.json"


class _Trial(Facts):
    unfreeze: str | int
    learning_rate: float
    validation_loss: float
    validation_accuracy: float
    best_epoch: int
    epochs: int

    def __str__(self) -> str:
        return f"unfreeze {self.unfreeze}, learning_rate {self.learning_rate:g}"


class _Statistics(Facts):
    trials: tuple[_Trial, ...] = ()
    loss_difference: float = 0.0
    loss_difference_low: float | None = None
    loss_difference_high: float | None = None
    loss_difference_p: float = 1.0


def trials(folder: Path, chosen_because: str) -> dict[str, Any] | None:
    """Return the trials of a fine-tuning, the best first, and its comparison with the head.

    Parameters
    ----------
    folder : Path
        Of the run statistics.
    chosen_because : str
        Of the model that the page is about. Statistics may be of another run, where the model was
        restored from DVC's cache; then, and where nothing was chosen among several trials, the
        result is None.
    """
    path = folder / FILE
    if not path.exists():
        return None
    cure = "Remove it: the page then goes without, and the next run writes it again."
    found = _Statistics.model_validate(read_facts(path, _Statistics, cure))
    ranked = sorted(found.trials, key=lambda one: one.validation_loss)
    told = f"{found.loss_difference:+.4f} per image"
    if (
        len(ranked) < 2
        or told not in chosen_because
        or not chosen_because.endswith(f"the best of {len(ranked)} trials: {ranked[0]}")
    ):
        return None
    return {
        "rows": [one.model_dump() for one in ranked],
        "difference": found.loss_difference,
        "low": found.loss_difference_low,
        "high": found.loss_difference_high,
        "p": found.loss_difference_p,
        "level": LEVEL,
        "kept": found.loss_difference_p <= LEVEL,
    }
