"""One fine-tuning: train the top with the head, verify the conversion, keep the better model."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import headstart.images
import headstart.keras
import headstart.training
from headstart._utils.csv_text import csv_text
from headstart._utils.errors import HeadstartError
from headstart._utils.faults import reached
from headstart._utils.files import sha256_bytes, write_bytes
from headstart._utils.machine import architecture
from headstart._utils.seeds import derive
from headstart.backbones.litert import LiteRTPool
from headstart.backbones.record import BackboneRecord
from headstart.backbones.weights import Weights
from headstart.features.forward_passes import Cluster, Reader
from headstart.features.store import fingerprint
from headstart.images.resize import spec
from headstart.keras.runtime import configure
from headstart.keras.training.tuner import Tuner
from headstart.training.acceptance import Comparison, compare, doubt_of, reason
from headstart.training.activations import Array, LiveViews, arrays, run_network
from headstart.training.batches import BatchSource
from headstart.training.checkpoint import Checkpoint
from headstart.training.fit_head import calibrated
from headstart.training.head import apply_head, head_logits, output_activation
from headstart.training.history import History
from headstart.training.inputs import TuningImages
from headstart.training.model_folder import (
    BACKBONE_WEIGHTS,
    LOWER,
    UPPER,
    ModelRecord,
    Scores,
    write_model,
)
from headstart.training.parameters import FineTuneParams
from headstart.training.scores import check_trained, losses, score

#: Largest difference of a probability between the Keras model and what is written.
TOLERANCE = 1e-4
_COMPARED = 64
_PACKAGES = ("tensorflow", "keras", "numpy")


@dataclass(frozen=True)
class Tuned:
    """The result of a fine-tuning.

    Attributes
    ----------
    record : ModelRecord
        Of the model that was kept and written.
    history : History
    statistics : dict
        Epochs, passes, and what was kept, for the run statistics.
    checkpoint : Checkpoint
        Of the training; to be dropped when the folder is in its place.
    """

    record: ModelRecord
    history: History
    statistics: dict[str, Any]
    checkpoint: Checkpoint

    def __str__(self) -> str:
        kept = "fine-tuned" if self.record.kind == "fine_tuned" else "head only"
        return f"Model: {kept}, {self.record.chosen_because}"


def fine_tune(
    folder: Path,
    head: tuple[ModelRecord, Weights],
    backbone: tuple[BackboneRecord, Path],
    images: TuningImages,
    reader: Reader,
    params: FineTuneParams,
    seed: int,
    threads: int,
    cluster: Cluster | None = None,
) -> Tuned:
    """Train, compare what was converted with Keras, and write the better model.

    Parameters
    ----------
    folder : Path
        Empty folder of the model, as an ``atomic_folder`` block gives it.
    head : tuple of ModelRecord and dict of str to ndarray
        The trained head and its weights.
    backbone : tuple of BackboneRecord and Path
        The backbone and its folder.
    images : TuningImages
    reader : Reader
        Where the images' bytes are read from.
    params : FineTuneParams
    seed : int
        Of the head's dropout, the order of images, and augmented views.
    threads : int
        CPU threads of the training: they decide bits.
    cluster : Cluster, optional
        Its workers compute the activations of the frozen part.

    Raises
    ------
    HeadstartError
        If the training diverges or explodes, or the backbone does not convert to LiteRT exactly.
    """
    record, weights = head
    configure(threads, seed)
    tuner = Tuner(*backbone, params, record.head, weights, seed)
    print(tuner.describe(), flush=True)
    checkpoint = Checkpoint(_identity(head, backbone[0], images, params, seed, threads))
    with tempfile.TemporaryDirectory(dir=folder, prefix=".work-") as work:
        history, validation, statistics = train(
            tuner,
            images,
            reader,
            params,
            seed,
            record,
            folder,
            Path(work),
            checkpoint,
            cluster,
        )
        write_bytes(folder / UPPER, tuner.upper_network())
        features = run_network(LiteRTPool(folder / UPPER), validation)
        difference = _compare(tuner, features, validation)
    judged = _judged(tuner, head, features, images, params, seed)
    changes: dict[str, Any] = {"chosen_because": judged.reason(history)}
    if judged.comparison.accepted:
        reached("member", folder / BACKBONE_WEIGHTS)
        tuner.backbone.save_weights(str(folder / BACKBONE_WEIGHTS))
        weights = judged.weights
        changes |= {
            "kind": "fine_tuned",
            "validation": judged.tuned,
            "unfrozen_from": tuner.cut.unfrozen_from,
            "unfrozen_alone": tuner.cut.alone,
        }
    else:
        for name in (LOWER, UPPER):
            (folder / name).unlink(missing_ok=True)
    final = record.model_copy(update=changes)
    write_model(folder, final, weights)
    statistics |= {
        "conversion_probability_difference": difference,
        "epochs": len(history.epochs),
        "epochs_asked": params.epochs,
        "best_epoch": history.best_epoch,
        "kept": final.kind,
        **judged.comparison.recorded(),
    }
    return Tuned(final, history, statistics, checkpoint)


class _Judged(NamedTuple):
    """The fine-tuned head, and how the fine-tuned model compares with the head alone."""

    weights: Weights
    tuned: Scores
    alone: Scores
    comparison: Comparison

    def reason(self, history: History) -> str:
        best, epochs = history.best_epoch, len(history.epochs)
        return reason(self.comparison, self.tuned, self.alone, best, epochs)


def _judged(
    tuner: Tuner,
    head: tuple[ModelRecord, Weights],
    features: Array,
    images: TuningImages,
    params: FineTuneParams,
    seed: int,
) -> _Judged:
    """Check and calibrate the fine-tuned model, and compare it with the head alone."""
    (record, before), weights = head, tuner.head_weights()
    layers, labels = list(record.head), images.labels(images.validation)
    check_trained(layers, weights, features, labels, params.learning_rate)
    doubt, activation = doubt_of(len(labels)), output_activation(layers)
    if record.calibration == "temperature":
        weights = calibrated(layers, weights, features, labels, doubt=doubt)
    cached = images.features.array("validation")
    tuned, alone = (
        losses(head_logits(layers, w, x), labels, activation, doubt)
        for w, x in ((weights, features), (before, cached))
    )
    groups = images.groups(images.validation)
    return _Judged(
        weights,
        score(record, weights, features, labels),
        score(record, before, cached, labels),
        compare(tuned, alone, groups, derive(seed, "acceptance")),
    )


def train(
    tuner: Tuner,
    images: TuningImages,
    reader: Reader,
    params: FineTuneParams,
    seed: int,
    head: ModelRecord,
    folder: Path,
    work: Path,
    checkpoint: Checkpoint | None = None,
    cluster: Cluster | None = None,
) -> tuple[History, Array, dict[str, Any]]:
    """Train on the activations of the frozen part, which is written to ``folder``.

    The class weights of the head's training and its calibration go on: without them, fine-tuning
    would undo their effect.

    Returns
    -------
    history : History
    validation : ndarray
        Inputs of the trained part for the validation images.
    statistics : dict
        Passes through the frozen part, and how many numbers were trained.
    """
    tuner.check_convertible()
    network, lower = tuner.lower_network(), None
    if network is not None:
        lower = folder / LOWER
        write_bytes(lower, network)
    size, bits, augment = tuner.record.image_size, tuner.record.gray16_bits, params.augment
    labels, live = images.labels(images.train), 0
    parts = {"validation": images.validation}
    if not augment.active:
        parts["train"] = images.train
    found, passes = arrays(lower, parts, reader, size, bits, work, cluster)
    validation = BatchSource.of_array(found["validation"], images.labels(images.validation))

    def fit(source: BatchSource) -> History:
        calibrates = head.calibration == "temperature"
        return tuner.fit(
            source,
            validation,
            seed,
            head.class_weights,
            calibrated=calibrates,
            doubt=doubt_of(len(validation)),
            checkpoint=checkpoint,
        )

    if augment.active:
        with LiveViews(images.train, reader, size, bits, augment, seed, lower) as views:
            history = fit(BatchSource.of_function(views.take, labels))
            live = views.passes
    else:
        history = fit(BatchSource.of_array(found["train"], labels))
    if lower is not None:
        print(f"Frozen part: {passes}{f'; {live:,} live passes of views' if live else ''}")
    statistics = {
        "passes_done": passes.done + live,
        "passes_cached": passes.cached,
        "live_passes": live,
        "extraction_seconds": round(passes.seconds, 3),
        "trained_parameters": tuner.trained_parameters(),
    }
    return history, found["validation"], statistics


def _identity(
    head: tuple[ModelRecord, Weights],
    backbone: BackboneRecord,
    images: TuningImages,
    params: FineTuneParams,
    seed: int,
    threads: int,
) -> str:
    """Return the hash of everything that decides the training's result, this code included."""
    record, weights = head
    arrays = {name: sha256_bytes(weights[name].tobytes()) for name in sorted(weights)}
    rows = {
        name: sha256_bytes(csv_text(part[["image_id", "label"]]).encode())
        for name, part in (("train", images.train), ("validation", images.validation))
    }
    rooms = (headstart.keras, headstart.training, headstart.images)
    code = {room.__name__: _code(Path(str(room.__file__)).parent) for room in rooms}
    return fingerprint(
        {
            "backbone": backbone.model_dump(mode="json"),
            "head": record.model_dump(mode="json"),
            "weights": arrays,
            "images": rows,
            "fine_tune": params.model_dump(mode="json"),
            "seed": seed,
            "threads": threads,
            "pixels": spec(backbone.gray16_bits),
            "machine": architecture(),
            "versions": {name: metadata.version(name) for name in _PACKAGES},
            "code": code,
        }
    )


def _code(folder: Path) -> str:
    files = sorted(folder.rglob("*.py"))
    return sha256_bytes(b"".join(path.read_bytes() for path in files))


def _compare(tuner: Tuner, features: Array, validation: Array) -> float:
    """Return the difference between the converted part with the NumPy head and the Keras model.

    Raises
    ------
    HeadstartError
        If they differ.
    """
    ours = apply_head(tuner.head_layers, tuner.head_weights(), features[:_COMPARED])
    keras = tuner.probabilities(validation[:_COMPARED])
    difference = float(np.abs(ours - keras).max())
    if not difference <= TOLERANCE:
        raise HeadstartError(
            "The converted fine-tuned model is not the one that was trained: a probability "
            f"differs by {difference:.2g}, at most {TOLERANCE:g} is accepted. Nothing was "
            "written. Please report this with the sections backbone and fine_tune of params.yaml; "
            "`fine_tune.epochs: 0` keeps the head-only model."
        )
    return difference
