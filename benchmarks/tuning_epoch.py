"""An epoch of fine-tuning on cached activations, beside Keras' `fit` of the same layers.

    python -m benchmarks.tuning_epoch --images 320 --size 160 --unfreeze 4

Both train the same blocks of MobileNetV2 and the same head with the same batches and optimizer; the
pixels and the weights are random, on which the time does not depend. Keras' `fit` sends every batch
through the whole network, as scripts do. Each runs in a process of its own, one after the other, so
that the peak of memory is its own. Printed are seconds by the clock and of CPU per epoch, without
the first epoch, which is traced, and what filling the cache takes once.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from unittest import mock

import numpy as np
import typer

from headstart.api.backbones import obtain
from headstart.backbones.parameters import BackboneParams
from headstart.stage.parameters import read_params

_ROOT = Path(__file__).resolve().parents[1]
_CLASSES = 3
_HEAD = [{"kind": "dense", "units": _CLASSES, "activation": "softmax"}]


def main(
    images: int = 320,
    size: int = 160,
    unfreeze: Annotated[int, typer.Option(help="blocks")] = 4,
    epochs: int = 3,
    way: Annotated[str | None, typer.Option(help="cached or fit: in this process")] = None,
) -> None:
    """Measure both ways and print their ratio."""
    if way is not None:
        print(json.dumps(measured(way, images, size, unfreeze, epochs)))
        return
    options = {"images": images, "size": size, "unfreeze": unfreeze, "epochs": epochs}
    given = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "benchmarks.tuning_epoch", *given]
    load = os.getloadavg()[0]
    found: dict[str, dict[str, float]] = {}
    for each in ("cached", "fit"):
        done = subprocess.run(
            [*command, "--way", each], cwd=_ROOT, stdout=subprocess.PIPE, text=True, check=True
        )
        found[each] = json.loads(done.stdout.splitlines()[-1])
        values = ", ".join(f"{name} {value:.2f}" for name, value in found[each].items())
        print(f"{each}: {values}", flush=True)
    ratios = [found["fit"][name] / found["cached"][name] for name in ("seconds", "cpu", "peak_gb")]
    print(
        f"{images} images at {size} pixels, {unfreeze} blocks, load {load:.1f}: Keras' fit takes "
        f"{ratios[0]:.1f} times as long per epoch, {ratios[1]:.1f} times the CPU and "
        f"{ratios[2]:.1f} times the memory"
    )


def measured(way: str, images: int, size: int, unfreeze: int, epochs: int) -> dict[str, float]:
    """Return seconds and seconds of CPU per epoch, those of the cache, and the peak in GB."""
    from headstart.keras.runtime import configure
    from headstart.keras.training.head import build_head, dump_head
    from headstart.keras.training.tuner import Tuner

    configure(2, 0)
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (images, size, size, 3), dtype=np.uint8)
    labels = np.arange(images) % _CLASSES
    params = read_params(_ROOT / "params.yaml").fine_tune
    changes = {"epochs": epochs, "unfreeze": unfreeze, "early_stopping_patience": None}
    (trial,) = params.model_copy(update=changes).trials()
    folder, record = obtain(_backbone(size), "keras", 0)
    weights = dump_head(build_head(_HEAD, record.feature_shape, seed=0))
    tuner = Tuner(record, folder, trial, _HEAD, weights, 0)
    filled, ends = (_by_cache if way == "cached" else _by_fit)(tuner, pixels, labels)
    clock, cpu = np.diff(ends, axis=0).mean(axis=0)
    return {
        "seconds": clock,
        "cpu": cpu,
        "cache_seconds": filled,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def _backbone(size: int) -> BackboneParams:
    return BackboneParams(
        name="mobilenet_v2", hub=None, alpha=1.0, weights="random", weights_sha256=None,
        image_size=size, cut=None, pooling="avg", gray16_bits=None,
    )  # fmt: skip


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _by_cache(tuner: Any, pixels: Any, labels: Any) -> tuple[float, list[tuple[float, float]]]:
    """Return the seconds that filling the cache takes, and the times of each epoch's end."""
    from headstart.backbones.litert import LiteRTFunction
    from headstart.keras.training.fitting import fit
    from headstart.training.batches import BatchSource

    start = time.perf_counter()
    activations = LiteRTFunction(tuner.lower_network())(pixels)
    filled = time.perf_counter() - start
    source = BatchSource.of_array(activations, labels)
    few = BatchSource.of_array(activations[:8], labels[:8])
    ends: list[tuple[float, float]] = []
    timed = partial(fit, say=lambda _: ends.append(_now()))
    with mock.patch("headstart.keras.training.tuner.fit", timed):
        tuner.fit(source, few, 0)
    return filled, ends


def _by_fit(tuner: Any, pixels: Any, labels: Any) -> tuple[float, list[tuple[float, float]]]:
    """Train the same layers through the whole network by Keras' fit."""
    from headstart.keras.networks.backbone import pool, preprocess
    from headstart.keras.runtime import keras
    from headstart.keras.training.head import logits_model

    entry = keras.Input(pixels.shape[1:])
    maps = tuner.backbone(preprocess(entry, tuner.record.preprocessing), training=False)
    model = keras.Model(entry, logits_model(tuner.head)(pool(maps, tuner.record.pooling)))
    params, ends = tuner.params, list[tuple[float, float]]()
    model.compile(
        keras.optimizers.Adam(params.learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: ends.append(_now()))
    model.fit(
        pixels, labels, batch_size=params.batch_size, epochs=params.epochs, verbose=0,
        callbacks=[watch], validation_data=(pixels[:8], labels[:8]),
    )  # fmt: skip
    return 0.0, ends


if __name__ == "__main__":
    typer.run(main)
