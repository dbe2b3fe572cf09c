"""One fine-tuning: run the trials, choose the best on validation, keep it or the head."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart._utils.errors import DivergedError
from headstart._utils.seeds import derive
from headstart.keras.training.trial import Given, Tried, run_trial
from headstart.training.acceptance import Comparison, compare, doubt_of, reason
from headstart.training.checkpoint import Checkpoint
from headstart.training.head import head_logits, output_activation
from headstart.training.history import History
from headstart.training.model_folder import ModelRecord, write_model
from headstart.training.parameters import FineTuneParams, Tuning
from headstart.training.scores import losses, score


@dataclass(frozen=True)
class Tuned:
    """The result of a fine-tuning.

    Attributes
    ----------
    record : ModelRecord
        Of the model that was kept and written.
    history : History
        Of the best trial.
    statistics : dict
        Epochs, passes, trials, and what was kept, for the run statistics.
    checkpoints : sequence of Checkpoint
        Of all trials; to be dropped when the folder is in its place.
    """

    record: ModelRecord
    history: History
    statistics: dict[str, Any]
    checkpoints: Sequence[Checkpoint]

    def __str__(self) -> str:
        kept = "fine-tuned" if self.record.kind == "fine_tuned" else "head only"
        return f"Model: {kept}, {self.record.chosen_because}"


def fine_tune(folder: Path, given: Given, params: FineTuneParams) -> Tuned:
    """Train all trials, compare the best with the head, and write the better model.

    Each trial that is finished or interrupted is resumed from its checkpoint.

    Parameters
    ----------
    folder : Path
        Empty folder of the model, as an ``atomic_folder`` block gives it.
    given : Given
    params : FineTuneParams

    Raises
    ------
    HeadstartError
        If a training diverges or explodes, or the backbone does not convert to LiteRT exactly.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".work-") as work:
        tried = _run(given, params.trials(), Path(work))
        best = min(tried, key=_loss)
        comparison = _against_head(given, tried)
        accepted = comparison.accepted
        final = given.head[0].model_copy(update=_changes(given, tried, best, comparison))
        if accepted:
            for file in sorted(best.folder.iterdir()):
                shutil.move(file, folder / file.name)
    write_model(folder, final, best.weights if accepted else given.head[1])
    statistics = {
        **best.statistics,
        **{key: sum(each.statistics[key] for each in tried) for key in _SUMS},
        "epochs_asked": params.epochs,
        "kept": final.kind,
        **comparison.recorded(),
    }
    if len(params.trials()) > 1:
        statistics["trials"] = [_recorded(each) for each in tried]
    return Tuned(final, best.history, statistics, [each.checkpoint for each in tried])


#: Statistics of all trials together.
_SUMS = ("passes_done", "passes_cached", "live_passes", "extraction_seconds")


def _run(given: Given, trials: Sequence[Tuning], work: Path) -> list[Tried]:
    """Train one trial after the other; only the files of the best one stay.

    One that diverges is left out, unless all do.
    """
    tried: list[Tried] = []
    for number, trial in enumerate(trials, 1):
        if len(trials) > 1:
            print(f"Trial {number} of {len(trials)}: {trial}", flush=True)
        place = work / str(number)
        place.mkdir()
        try:
            tried.append(run_trial(given, trial, place))
        except DivergedError as error:
            if number == len(trials) and not tried:
                raise
            print(f"Trial {number} is not a candidate. {error}", flush=True)
            continue
        best = min(tried, key=_loss)
        for each in tried:
            if each is not best:
                shutil.rmtree(each.folder, ignore_errors=True)
    return tried


def _loss(tried: Tried) -> float:
    return round(float(tried.losses.mean()), 9)


def _against_head(given: Given, tried: Sequence[Tried]) -> Comparison:
    """Compare the best trial with the head alone, on the validation images."""
    (record, weights), images = given.head, given.images
    labels, features = images.labels(images.validation), images.features.array("validation")
    layers = list(record.head)
    logits = head_logits(layers, weights, features)
    alone = losses(logits, labels, output_activation(layers), doubt_of(len(labels)))
    groups = images.groups(images.validation)
    seed = derive(given.seed, "acceptance")
    return compare([each.losses for each in tried], alone, groups, seed)


def _changes(
    given: Given, tried: Sequence[Tried], best: Tried, comparison: Comparison
) -> dict[str, Any]:
    """Return what the record of the final model has, other than that of the head."""
    (record, weights), images = given.head, given.images
    labels, features = images.labels(images.validation), images.features.array("validation")
    alone = score(record, weights, features, labels)
    epochs = best.history.best_epoch, len(best.history.epochs)
    why = reason(comparison, best.scores, alone, *epochs)
    if len(tried) > 1:
        why += f", the best of {len(tried)} trials: {best.params}"
    if not comparison.accepted:
        return {"chosen_because": why}
    return {
        "chosen_because": why,
        "kind": "fine_tuned",
        "validation": best.scores,
        "unfrozen_from": best.cut.unfrozen_from,
        "unfrozen_alone": best.cut.alone,
    }


def _recorded(tried: Tried) -> dict[str, Any]:
    """Return a trial's line of the run statistics."""
    return {
        "unfreeze": tried.params.unfreeze,
        "learning_rate": tried.params.learning_rate,
        "validation_loss": _loss(tried),
        "validation_accuracy": tried.scores.accuracy,
        "best_epoch": tried.history.best_epoch,
        "epochs": len(tried.history.epochs),
    }
