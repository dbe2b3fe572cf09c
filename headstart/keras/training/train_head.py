"""The classifier on the recorded features: no image is read, no base is run.

Layers, optimizer and stopping come from the section `train_head` of params.yaml. The model folder
gets the weights in a byte-stable file, the histories are plots of DVC.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import HeadstartError
from headstart._utils.seeds import derive
from headstart._utils.tables import plain
from headstart.backbones.weights import Weights
from headstart.features.folder import Features
from headstart.training.history import History
from headstart.training.model_folder import BackboneSummary, ModelRecord, Scores
from headstart.training.parameters import TrainHeadParams

Labeled = tuple[npt.NDArray[Any], npt.NDArray[np.int32]]


def train(
    recorded: Features, params: TrainHeadParams, seed: int, threads: int
) -> tuple[list[dict[str, Any]], Weights, History]:
    """Layers, trained weights and history of a head on recorded features."""
    from headstart.keras.runtime import configure

    seed = derive(seed, "train_head")
    configure(threads, seed)
    of_train, of_validation = (
        (recorded.array(split), class_indices(recorded, split)) for split in ("train", "validation")
    )
    return fit_head(of_train, of_validation, len(recorded.header.classes), params, seed)


def fit_head(
    of_train: Labeled,
    of_validation: Labeled,
    n_classes: int,
    params: TrainHeadParams,
    seed: int,
    say: Callable[[str], None] = print,
) -> tuple[list[dict[str, Any]], Weights, History]:
    """Train a head on arrays, in a process that is set up already.

    Parameters
    ----------
    of_train, of_validation : tuple of ndarray
        Features of shape (n, *feature_shape), and labels of shape (n,) as indices of classes.
    n_classes : int
    params : TrainHeadParams
    seed : int
        Of the first weights, of dropout, and of the order of images.
    say : callable
        Is given a line for each epoch.

    Returns
    -------
    layers, weights, history
        Layers as in :mod:`headstart.training.head_layers`.
    """
    from headstart.keras.training import head as heads
    from headstart.keras.training.batches import BatchSource
    from headstart.keras.training.fitting import FitSettings, balanced_class_weights, fit

    features, labels = of_train
    layers = heads.head_spec(params, features.shape[1:], n_classes)
    head = heads.build_head(layers, features.shape[1:], seed)
    heads.set_statistics(head, features)
    weighted = params.class_weights == "balanced"
    settings = FitSettings(
        epochs=params.epochs,
        batch_size=params.batch_size,
        optimizer=params.optimizer,
        learning_rate=params.learning_rate,
        loss=params.loss,
        seed=seed,
        steps_per_epoch=params.steps_per_epoch,
        patience=params.early_stopping_patience,
        class_weights=balanced_class_weights(labels, n_classes) if weighted else None,
    )
    sources = [BatchSource.of_array(*each) for each in (of_train, of_validation)]
    history = fit(heads.logits_model(head), sources[0], sources[1], settings, say)
    return layers, heads.dump_head(head), history


def class_indices(recorded: Features, split: str) -> npt.NDArray[np.int32]:
    """The label of each row of a split as an index into the sorted classes."""
    index = {name: i for i, name in enumerate(recorded.header.classes)}
    return np.array([index[label] for label in recorded.rows(split)["label"]], np.int32)


def warn(recorded: Features) -> None:
    """Say what the scores can not be trusted for; refuse what can not be learned at all.

    Raises
    ------
    HeadstartError
        If there is but one class.
    """
    classes = recorded.header.classes
    if len(classes) < 2:
        raise HeadstartError(
            f"There is only one class, {plain(classes[0])!r}: nothing can be told apart. Nothing "
            "was trained. Add images of a second class."
        )
    if recorded.header.random_weights:
        print("Note: the backbone has random weights. What is learned here is no transfer.")
    for split in ("train", "validation"):
        there = set(recorded.rows(split)["label"])
        missing = [name for name in classes if name not in there]
        if missing:
            shown = ", ".join(plain(name) for name in missing[:10])
            more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
            print(f"Warning: no {split} image of {shown}{more}.", flush=True)


def check_outputs(classes: Sequence[str], params: TrainHeadParams) -> None:
    """Refuse a single output for more than two classes.

    Raises
    ------
    HeadstartError
        With both ways out.
    """
    if params.outputs == "one" and len(classes) != 2:
        raise HeadstartError(
            f"`train_head.outputs: one` tells two classes apart, and there are {len(classes)}. "
            "Nothing was trained. Set it to classes, or keep two classes alone."
        )


def describe(
    recorded: Features, layers: list[dict[str, Any]], history: History, params: TrainHeadParams
) -> ModelRecord:
    """The record of the trained head."""
    patience = params.early_stopping_patience
    header, best, epochs = recorded.header, history.best_epoch, len(history.epochs)
    scores = history.epochs.iloc[best - 1]
    if patience is None:
        reason = f"the last of {epochs} epochs"
    else:
        end = (
            f"stopped after {patience} without improvement" if history.stopped_early else "all run"
        )
        reason = f"the lowest validation loss, in epoch {best} of {epochs} ({end})"
    return ModelRecord(
        kind="head",
        classes=header.classes,
        feature_shape=header.feature_shape,
        head=tuple(layers),
        backbone=BackboneSummary(**header.backbone, random_weights=header.random_weights),
        validation=Scores(loss=float(scores["val_loss"]), accuracy=float(scores["val_accuracy"])),
        chosen_because=reason,
        class_weights=params.class_weights,
    )
