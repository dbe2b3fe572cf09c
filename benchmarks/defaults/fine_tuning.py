"""Fine-tuning beside the head alone and beside Keras' textbook, on the same images and splits.

    HEADSTART_SHARED=… python -m benchmarks.defaults.fine_tuning --seeds 2 --train 40

Each seed draws another division of a set, which all ways share; ``--train`` is the number of
training images per class. All ways start from the same trained head and train on the same cached
activations. The frozen layers are in inference mode in the textbook, too, so that its `fit` through
the whole network would give the same numbers, later. The textbook takes the layers above
``block_12_add``, Adam at 1e-4, ten epochs of `Model.fit`, and keeps the last.

Printed are accuracy, log loss and expected calibration error on the test images: of the head, of
each way's model, and of what acceptance keeps (the model, or the head).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.defaults.examples import NETWORKS, ImageSet, Network, image_sets, shared
from benchmarks.defaults.heads import Array, Division, Scores, divide, scores_of
from headstart._utils.files import sha256_file
from headstart.api.backbones import obtain
from headstart.backbones.litert import LiteRTFunction
from headstart.backbones.parameters import BackboneParams
from headstart.backbones.record import BackboneRecord
from headstart.backbones.weights import Weights
from headstart.images.resize import pixels
from headstart.keras.runtime import configure, keras
from headstart.keras.training.tuner import Tuner
from headstart.stage.parameters import read_params
from headstart.training.acceptance import compare, doubt_of
from headstart.training.batches import BatchSource
from headstart.training.calibration import calibrate
from headstart.training.fit_head import fit_head
from headstart.training.head import LayerSpec, activate, apply_head, head_logits, output_activation
from headstart.training.parameters import FineTuneParams, TrainHeadParams
from headstart.training.scores import losses

_ROOT = Path(__file__).resolve().parents[2]
_TEXTBOOK = "textbook"
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
    chosen = {name: base.model_copy(update=dict(WAYS[name])) for name in ways or WAYS}
    used = next(one for one in NETWORKS if one.name == network)
    for images in image_sets(sets or ["alien", "cats-dogs", "fruits"]):
        measure(Example(used, images), train, seeds, params.train_head, chosen)


def measure(
    example: Example,
    count: int,
    seeds: int,
    head: TrainHeadParams,
    ways: Mapping[str, FineTuneParams],
) -> None:
    """Measure all ways on one set, and print a line for each."""
    y = example.images.labels
    found: dict[str, list[tuple[Any, ...]]] = {}
    for seed in range(seeds):
        rows = divide(y, count, seed)
        x = example.features
        parts = [(x[part], y[part]) for part in (rows.train, rows.validation)]
        layers, weights, _ = fit_head(
            parts[0], parts[1], len(np.unique(y)), head, seed, lambda _: None
        )
        alone = scores_of(apply_head(layers, weights, x[rows.test]), y[rows.test])
        found.setdefault("head alone", []).append((*alone, *alone, 0, 0, 0))
        for name, params in ways.items():
            line = tuned(example, rows, layers, weights, params, seed, alone)
            found.setdefault(name, []).append(line)
        line = by_the_book(example, rows, layers, weights, next(iter(ways.values())), seed)
        found.setdefault(_TEXTBOOK, []).append((*line, *line, 1, 10, 0))
    print(
        f"{example.images.name}: {len(rows.train)} train, {len(rows.validation)} validation, "
        f"{len(rows.test)} test"
    )
    for name, lines in found.items():
        values = np.array(lines, float)
        mean = values.mean(axis=0)
        print(
            f"  {name:20} model {' '.join(f'{v:.3f}' for v in mean[:3])}   "
            f"kept {' '.join(f'{v:.3f}' for v in mean[3:6])}   "
            f"accepted {values[:, 6].sum():.0f} of {len(lines)}, "
            f"epochs {mean[7]:.1f}, {mean[8]:.1f} s an epoch   "
            f"accuracies {' '.join(f'{v:.3f}' for v in values[:, 0])}",
            flush=True,
        )


def tuned(
    example: Example,
    rows: Division,
    layers: list[LayerSpec],
    weights: Weights,
    params: FineTuneParams,
    seed: int,
    alone: Scores,
) -> tuple[Any, ...]:
    """Fine-tune as the stage does; return the scores of the model and of what is kept."""
    keras.backend.clear_session()
    y, activation = example.images.labels, output_activation(layers)
    tuner = Tuner(*example.backbone, params, layers, weights, seed)
    cut = tuner.cut.after
    x = example.at(cut, tuner.lower_network)
    sources = [BatchSource.of_array(x[part], y[part]) for part in rows[:2]]
    start, doubt = time.perf_counter(), doubt_of(len(rows.validation))
    history = tuner.fit(sources[0], sources[1], seed, calibrated=True, doubt=doubt)
    seconds = (time.perf_counter() - start) / len(history.epochs)
    logits = {
        part: np.concatenate(
            [np.asarray(tuner.model(x[b].astype(np.float32), training=False))
             for b in np.array_split(part_rows, max(1, len(part_rows) // 64))]
        )
        for part, part_rows in (("validation", rows.validation), ("test", rows.test))
    }  # fmt: skip
    held = y[rows.validation]
    temperature = calibrate(logits["validation"], held, activation, doubt).temperature
    before = head_logits(layers, weights, example.features[rows.validation])
    ours, theirs = (
        losses(values, held, activation, doubt)
        for values in (logits["validation"] / temperature, before)
    )
    better = compare(ours, theirs, np.arange(len(held)), seed).accepted
    model = scores_of(activate(activation, logits["test"] / np.float32(temperature)), y[rows.test])
    kept = model if better else alone
    return (*model, *kept, float(better), len(history.epochs), seconds)


def by_the_book(
    example: Example,
    rows: Division,
    layers: list[LayerSpec],
    weights: Weights,
    params: FineTuneParams,
    seed: int,
) -> Scores:
    """Fine-tune with Keras' own `fit`; return the scores of the last epoch."""
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
    return scores_of(activate(output_activation(layers), logits), y[rows.test])


if __name__ == "__main__":
    typer.run(main)
