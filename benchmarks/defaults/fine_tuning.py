"""Fine-tuning beside the head alone and beside Keras' textbook, on the same images and splits.

    HEADSTART_SHARED=… python -m benchmarks.defaults.fine_tuning --seeds 2 --train 40

Each seed draws another division of a set, which all ways share; ``--train`` is the number of
training images per class. All ways start from the same trained head and train on the same cached
activations. The frozen layers are in inference mode in the textbook, too, so that its `fit` through
the whole network would give the same numbers, later. The textbook takes the layers above
``block_12_add``, Adam at 1e-4, ten epochs of `Model.fit`, and keeps the last.

Printed are accuracy, log loss and expected calibration error on the test images: of the head, of
each way's model, and of what acceptance keeps (the model, or the head); then the mean difference
from the head, in accuracy and in loss, with its 95 % interval over the test images of all seeds.
"best of all" tries all ways as one fine-tuning does with lists, and chooses on validation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from benchmarks.defaults.examples import NETWORKS, ImageSet, Network, image_sets, shared
from benchmarks.defaults.heads import Array, Division, divide, scores_of
from headstart._utils.files import sha256_file
from headstart.api.backbones import obtain
from headstart.backbones.litert import LiteRTFunction
from headstart.backbones.parameters import BackboneParams
from headstart.backbones.record import BackboneRecord
from headstart.backbones.weights import Weights
from headstart.images.resize import pixels
from headstart.keras.runtime import configure, keras
from headstart.keras.training.scoring import Scorer
from headstart.keras.training.tuner import Tuner
from headstart.stage.parameters import read_params
from headstart.training.acceptance import compare, doubt_of
from headstart.training.batches import BatchSource
from headstart.training.calibration import calibrate
from headstart.training.fit_head import fit_head
from headstart.training.head import LayerSpec, activate, apply_head, head_logits, output_activation
from headstart.training.parameters import TrainHeadParams, Tuning
from headstart.training.scores import losses

_ROOT = Path(__file__).resolve().parents[2]
_TEXTBOOK, _ALONE, _BEST = "textbook", "head alone", "best of all"
_FORMER: Mapping[str, Any] = {
    "unfreeze": 2, "optimizer": "adam", "learning_rate": 1e-5,
    "learning_rate_schedule": "constant", "early_stopping_patience": 3,
}  # fmt: skip
#: What differs from the defaults of params.yaml.
WAYS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "seven blocks": {"unfreeze": 7},
    "seven blocks, 3e-4": {"unfreeze": 7, "learning_rate": 3e-4},
    "four blocks, 3e-4": {"learning_rate": 3e-4},
    "former default": _FORMER,
}


class Found(NamedTuple):
    """A model of one seed."""

    test: Array  # probabilities of the test images
    validation: Array | None = None  # loss of each validation image
    epochs: int = 0
    seconds: float = 0.0


class Example:
    """A set of images on a backbone: its activations at each cut are computed once."""

    def __init__(self, network: Network, images: ImageSet) -> None:
        self.images = images
        file = None if network.file is None else shared() / "keras/models" / network.file
        params = BackboneParams(
            name=network.backbone, hub=None, alpha=network.alpha,
            weights="shipped" if file is None else str(file),
            weights_sha256=None if file is None else sha256_file(file),
            image_size=network.size, cut=None, pooling="avg", gray16_bits=None,
        )  # fmt: skip
        self.folder, self.record = obtain(params, "litert", 0)
        self._cached: dict[str | None, Array] = {}
        whole = (self.folder / "backbone.tflite").read_bytes()
        self.features = self.at("features", lambda: whole)

    @property
    def backbone(self) -> tuple[BackboneRecord, Path]:
        """Return what a tuner is made of."""
        return self.record, self.folder

    def at(self, cut: str | None, made: Callable[[], bytes | None]) -> Array:
        """Return the output of a network for all images; of none, their pixels."""
        if cut not in self._cached:
            network = made()
            run = None if network is None else LiteRTFunction(network)
            decoded = (self._pixels(image) for image in self.images.images)
            found = [image if run is None else run(image[None])[0] for image in decoded]
            self._cached[cut] = np.stack(found)
        return self._cached[cut]

    def _pixels(self, image: bytes) -> Array:
        found: Array = pixels(image, self.record.image_size, gray16_bits=None)
        return found


def main(
    seeds: int = 2,
    train: int = 40,
    sets: Annotated[list[str] | None, typer.Option(help="names of sets")] = None,
    network: str = "v2-128",
    ways: Annotated[list[str] | None, typer.Option(help="names of ways")] = None,
) -> None:
    """Measure and print a line for each set and way."""
    configure(2, 0)
    params = read_params(_ROOT / "params.yaml")
    base = params.fine_tune.model_copy(update={"epochs": 10})
    chosen = {name: base.model_copy(update=dict(WAYS[name])).trials()[0] for name in ways or WAYS}
    used = next(one for one in NETWORKS if one.name == network)
    for images in image_sets(sets or ["alien", "cats-dogs", "fruits"]):
        measure(Example(used, images), train, seeds, params.train_head, chosen)


def measure(
    example: Example,
    count: int,
    seeds: int,
    head: TrainHeadParams,
    ways: Mapping[str, Tuning],
) -> None:
    """Measure all ways on one set, and print a line for each."""
    y = example.images.labels
    found: list[dict[str, Found]] = []
    divisions = [divide(y, count, seed) for seed in range(seeds)]
    for seed, rows in enumerate(divisions):
        x = example.features
        parts = [(x[part], y[part]) for part in (rows.train, rows.validation)]
        layers, weights, _ = fit_head(
            parts[0], parts[1], len(np.unique(y)), head, seed, lambda _: None
        )
        each = {_ALONE: by_head(example, rows, layers, weights)}
        for name, params in ways.items():
            each[name] = tuned(example, rows, layers, weights, params, seed)
        first = next(iter(ways.values()))
        each[_TEXTBOOK] = by_the_book(example, rows, layers, weights, first, seed)
        found.append(each)
    rows = divisions[0]
    print(
        f"{example.images.name}: {len(rows.train)} train, {len(rows.validation)} validation, "
        f"{len(rows.test)} test"
    )
    truths = [y[rows.test] for rows in divisions]
    for name in [_ALONE, *ways, *([_BEST] if len(ways) > 1 else []), _TEXTBOOK]:
        print(line(name, list(ways), found, truths), flush=True)


def line(
    name: str, ways: Sequence[str], found: Sequence[Mapping[str, Found]], truths: Sequence[Array]
) -> str:
    """Return the scores of a way over all seeds as text."""
    models, kept, accepted = [], [], 0
    for seed, each in enumerate(found):
        alone = each[_ALONE]
        tried = [each[way] for way in (ways if name == _BEST else [name])]
        best = min(tried, key=lambda one: 0 if one.validation is None else one.validation.mean())
        models.append(best)
        keeps = True
        if best.validation is not None and alone.validation is not None and name != _ALONE:
            losses_ = [one.validation for one in tried if one.validation is not None]
            images = np.arange(len(alone.validation))
            keeps = compare(losses_, alone.validation, images, seed).accepted
        accepted += keeps
        kept.append(best if keeps else alone)
    text = f"  {name:20}"
    for title, those in (("model", models), ("kept", kept)):
        scores = np.mean(
            [scores_of(one.test, truth) for one, truth in zip(those, truths, strict=True)], axis=0
        )
        beside = [
            apart(one.test, each[_ALONE].test, truth)
            for one, each, truth in zip(those, found, truths, strict=True)
        ]
        ends = ", ".join(interval(values) for values in np.concatenate(beside, axis=1))
        text += f"{title} {' '.join(f'{value:.3f}' for value in scores)} ({ends})   "
    epochs, seconds = (np.mean([getattr(one, key) for one in models]) for key in Found._fields[2:])
    return f"{text}accepted {accepted} of {len(found)}, epochs {epochs:.1f}, {seconds:.1f} s each"


def apart(ours: Array, theirs: Array, truth: Array) -> Array:
    """Return the difference in right guesses and in loss, of each image."""
    own = np.arange(len(truth))
    right = [(each.argmax(axis=1) == truth).astype(float) for each in (ours, theirs)]
    loss = [-np.log(np.maximum(each[own, truth], 1e-12)) for each in (ours, theirs)]
    return np.stack([right[0] - right[1], loss[0] - loss[1]])


def interval(values: Array) -> str:
    """Return a mean with its 95 % interval."""
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():+.3f} ± {half:.3f}"


def by_head(example: Example, rows: Division, layers: list[LayerSpec], weights: Weights) -> Found:
    """Return the head alone."""
    x, y, activation = example.features, example.images.labels, output_activation(layers)
    logits = head_logits(layers, weights, x[rows.validation])
    held = losses(logits, y[rows.validation], activation, doubt_of(len(logits)))
    return Found(apply_head(layers, weights, x[rows.test]), held)


def tuned(
    example: Example,
    rows: Division,
    layers: list[LayerSpec],
    weights: Weights,
    params: Tuning,
    seed: int,
) -> Found:
    """Fine-tune as the stage does."""
    keras.backend.clear_session()
    y, activation = example.images.labels, output_activation(layers)
    tuner = Tuner(*example.backbone, params, layers, weights, seed)
    cut = tuner.cut.after
    x = example.at(cut, tuner.lower_network)
    sources = [BatchSource.of_array(x[part], y[part]) for part in rows[:2]]
    start, doubt = time.perf_counter(), doubt_of(len(rows.validation))
    history = tuner.fit(sources[0], sources[1], seed, calibrated=True, doubt=doubt)
    seconds = (time.perf_counter() - start) / len(history.epochs)
    validation, test = (
        Scorer(tuner.model, BatchSource.of_array(x[part], y[part]), "categorical_crossentropy")
        for part in (rows.validation, rows.test)
    )
    logits, held = validation.logits(), y[rows.validation]
    temperature = calibrate(logits, held, activation, doubt).temperature
    return Found(
        activate(activation, test.logits().astype(np.float64) / temperature),
        losses(logits / temperature, held, activation, doubt),
        len(history.epochs),
        seconds,
    )


def by_the_book(
    example: Example,
    rows: Division,
    layers: list[LayerSpec],
    weights: Weights,
    params: Tuning,
    seed: int,
) -> Found:
    """Fine-tune with Keras' own `fit`; take the last epoch."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    y = example.images.labels
    book = params.model_copy(update={"unfreeze_by": "layer", "unfreeze": "block_13_expand"})
    tuner = Tuner(*example.backbone, book, layers, weights, seed)
    cut = tuner.cut.after
    x = example.at(cut, tuner.lower_network)
    entry = keras.Input(x.shape[1:])
    model = keras.Model(entry, tuner.model(entry))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-4), loss)
    model.fit(x[rows.train], y[rows.train], batch_size=32, epochs=10, verbose=0)
    logits = model.predict(x[rows.test], verbose=0)
    return Found(activate(output_activation(layers), logits))


if __name__ == "__main__":
    typer.run(main)
