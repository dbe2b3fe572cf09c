"""One trial of a fine-tuning: train the top with the head, convert it, verify the conversion."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import headstart.images
import headstart.keras.networks
import headstart.keras.runtime
import headstart.keras.training
import headstart.training
from headstart._utils.csv_text import csv_text
from headstart._utils.errors import HeadstartError
from headstart._utils.faults import reached
from headstart._utils.files import sha256_bytes, write_bytes
from headstart._utils.machine import architecture
from headstart.backbones.litert import LiteRTPool
from headstart.backbones.record import BackboneRecord
from headstart.backbones.weights import Weights
from headstart.features.forward_passes import Cluster, Reader
from headstart.features.store import fingerprint
from headstart.images.resize import spec
from headstart.keras.runtime import configure
from headstart.keras.training.tuner import Tuner
from headstart.training.acceptance import doubt_of
from headstart.training.activations import Array, LiveViews, arrays, run_network
from headstart.training.batches import BatchSource
from headstart.training.checkpoint import Checkpoint
from headstart.training.fit_head import calibrated
from headstart.training.head import apply_head, head_logits, output_activation
from headstart.training.history import History
from headstart.training.inputs import TuningImages
from headstart.training.model_folder import BACKBONE_WEIGHTS, LOWER, UPPER, ModelRecord, Scores
from headstart.training.parameters import Tuning
from headstart.training.scores import check_trained, losses, score
from headstart.training.unfreezing import Cut

#: Largest difference of a probability between the Keras model and what is written.
TOLERANCE = 1e-4
_COMPARED = 64
_PACKAGES = ("tensorflow", "keras", "numpy")


@dataclass(frozen=True)
class Given:
    """What all trials of a fine-tuning start from.

    Attributes
    ----------
    head : tuple of ModelRecord and dict of str to ndarray
        The trained head and its weights.
    backbone : tuple of BackboneRecord and Path
        The backbone and its folder.
    images : TuningImages
    reader : Reader
        Where the images' bytes are read from.
    seed : int
        Of the head's dropout, the order of images, and augmented views.
    threads : int
        CPU threads of the training: they decide bits.
    cluster : Cluster or None
        Its workers compute the activations of the frozen part.
    """

    head: tuple[ModelRecord, Weights]
    backbone: tuple[BackboneRecord, Path]
    images: TuningImages
    reader: Reader
    seed: int
    threads: int
    cluster: Cluster | None = None


@dataclass(frozen=True)
class Tried:
    """A trained trial; its networks and weights lie in a folder of its own.

    Attributes
    ----------
    params : Tuning
    folder : Path
    cut : Cut
    history : History
    weights : dict of str to ndarray
        Of its head, with the temperature.
    losses : ndarray of shape (n,), float64
        Of each validation image.
    scores : Scores
        On the validation split.
    statistics : dict
        Epochs and passes, for the run statistics.
    checkpoint : Checkpoint
        To be dropped when the model's folder is in its place.
    """

    params: Tuning
    folder: Path
    cut: Cut
    history: History
    weights: Weights
    losses: npt.NDArray[np.float64]
    scores: Scores
    statistics: dict[str, Any]
    checkpoint: Checkpoint


def run_trial(given: Given, params: Tuning, folder: Path) -> Tried:
    """Train, and write the networks and the weights into an empty folder.

    Raises
    ------
    HeadstartError
        If the training diverges or explodes, or the backbone does not convert to LiteRT exactly.
    """
    configure(given.threads, given.seed)
    record, weights = given.head
    tuner = Tuner(*given.backbone, params, record.head, weights, given.seed)
    print(tuner.describe(), flush=True)
    checkpoint = Checkpoint(_identity(given, params))
    with tempfile.TemporaryDirectory(dir=folder, prefix=".work-") as work:
        history, validation, statistics = train(
            tuner, given, params, folder, Path(work), checkpoint
        )
        write_bytes(folder / UPPER, tuner.upper_network())
        features = run_network(LiteRTPool(folder / UPPER), validation)
        difference = _compare(tuner, features, validation)
    reached("member", folder / BACKBONE_WEIGHTS)
    tuner.backbone.save_weights(str(folder / BACKBONE_WEIGHTS))
    weights, each, scores = judged(given, tuner.head_weights(), features, params)
    return Tried(
        params, folder, tuner.cut, history, weights, each, scores,
        {
            **statistics,
            "conversion_probability_difference": difference,
            "epochs": len(history.epochs),
            "best_epoch": history.best_epoch,
        },
        checkpoint,
    )  # fmt: skip


def judged(
    given: Given, weights: Weights, features: Array, params: Tuning
) -> tuple[Weights, npt.NDArray[np.float64], Scores]:
    """Check and calibrate a fine-tuned head; return it with its losses and scores."""
    record, labels = given.head[0], given.images.labels(given.images.validation)
    layers = list(record.head)
    check_trained(layers, weights, features, labels, params.learning_rate)
    doubt = doubt_of(len(labels))
    if record.calibration == "temperature":
        weights = calibrated(layers, weights, features, labels, doubt=doubt)
    logits = head_logits(layers, weights, features)
    each = losses(logits, labels, output_activation(layers), doubt)
    return weights, each, score(record, weights, features, labels)


def train(
    tuner: Tuner,
    given: Given,
    params: Tuning,
    folder: Path,
    work: Path,
    checkpoint: Checkpoint | None = None,
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
    images, reader, seed, head = given.images, given.reader, given.seed, given.head[0]
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
        if warning := tuner.warning(sum(len(rows) for rows in parts.values())):
            print(warning, flush=True)
    found, passes = arrays(lower, parts, reader, size, bits, work, given.cluster)
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


def _identity(given: Given, params: Tuning) -> str:
    """Return the hash of everything that decides the training's result, this code included."""
    (record, weights), backbone, images = given.head, given.backbone[0], given.images
    arrays = {name: sha256_bytes(weights[name].tobytes()) for name in sorted(weights)}
    rows = {
        name: sha256_bytes(csv_text(part[["image_id", "label"]]).encode())
        for name, part in (("train", images.train), ("validation", images.validation))
    }
    keras = headstart.keras
    used = (keras.networks, keras.runtime, keras.training, headstart.training, headstart.images)
    code = {module.__name__: _code(Path(str(module.__file__))) for module in used}
    return fingerprint(
        {
            "backbone": backbone.model_dump(mode="json"),
            "head": record.model_dump(mode="json"),
            "weights": arrays,
            "images": rows,
            "fine_tune": params.model_dump(mode="json"),
            "seed": given.seed,
            "threads": given.threads,
            "pixels": spec(backbone.gray16_bits),
            "machine": architecture(),
            "versions": {name: metadata.version(name) for name in _PACKAGES},
            "code": code,
        }
    )


def _code(module: Path) -> str:
    """Return the hash of a module; of a package, with all that is below it."""
    files = sorted(module.parent.rglob("*.py")) if module.name == "__init__.py" else [module]
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
