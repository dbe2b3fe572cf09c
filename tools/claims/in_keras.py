"""Measurements of the tutorials that need Keras; a process that prints one line of JSON.

    python -m tools.claims.in_keras counts
    python -m tools.claims.in_keras compare PROJECT
    python -m tools.claims.in_keras train PROJECT IMAGES

``counts`` gives the numbers of parameters, shapes and steps that the tutorials print, by item, with
random weights: these decide none of it. The others are about way B: dense layers on the frozen
backbone, run end to end by Keras in every epoch. PROJECT is a copy of this project in which way A
has run; backbone, first weights of the head, division and settings are taken from there.
``compare`` compares the probabilities of both ways before any training; ``train`` trains on IMAGES,
which holds train, validation and test over class folders.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from headstart._utils.seeds import derive
from headstart.backbones.record import read_backbone
from headstart.backbones.registry import BACKBONES
from headstart.datasets.manifests import SPLITS, read_split
from headstart.datasets.shards import ShardReader
from headstart.evaluation.metrics import binary_accuracy
from headstart.features.folder import Features, read_features
from headstart.images.resize import pixels
from headstart.keras.networks.backbone import build_backbone, feature_model
from headstart.keras.runtime import keras
from headstart.keras.training.head import build_head, dump_head, load_head
from headstart.stage.parameters import read_params
from headstart.training.batches import filled
from headstart.training.head import head_spec
from headstart.training.network import statistics
from tools.contract import ROOT

_BATCH = 32


def counts() -> dict[str, Any]:
    """Return parameters, shapes and steps by item."""
    narrow, pets = _parts("mobilenet_v2", 224, 3), _parts("mobilenet_v2", 224, 2)
    fruits = _parts("mobilenet", 128, 102, activation="sigmoid", loss="binary_crossentropy")
    vgg, base = build_backbone("vgg16", 1.0, 150), build_backbone("mobilenet", 1.0, 128)
    base.trainable = False
    function = getattr(keras.applications, BACKBONES["mobilenet"].function)
    whole = function(weights=None, input_shape=(224, 224, 3))
    batch = np.zeros((_BATCH, 224, 224, 3), np.float32)
    features = pets[0].predict_on_batch(batch)
    none = np.zeros((102, 102), np.float32)
    return {
        "0.8": {"output": [*pets[1].predict_on_batch(features).shape]},
        "1.3": {"output": [*narrow[0].predict_on_batch(batch).shape]},
        "1.4": _numbers(narrow[2]),
        "1.7": {"parameters": vgg.count_params(), "output": [*vgg.output_shape[1:]]},
        "4.5": {"parameters": whole.count_params()},
        "4.6": {**_numbers(base), "output": [*base.output_shape[1:]]},
        "4.7": _numbers(fruits[2]),
        "4.10": {"steps": [_steps(52_718), _steps(17_692)]},
        "4, mistake": {"binary_accuracy": binary_accuracy(none, np.arange(102))},
    }


def _parts(name: str, size: int, classes: int, **changed: Any) -> tuple[Any, Any, Any]:
    """Return a frozen backbone with its pooling, a dense layer, and both as one model."""
    base = build_backbone(name, 1.0, size)
    base.trainable = False
    features = feature_model(base, None, "avg", BACKBONES[name].preprocessing, dtype="float32")
    plain = {"normalization": "none", "dropout": 0.0, **changed}
    params = read_params(ROOT / "params.yaml").train_head.model_copy(update=plain)
    width = tuple(features.output_shape[1:])
    head = build_head(head_spec(params, width, classes), width)
    return features, head, keras.Model(features.input, head(features.output))


def _numbers(model: Any) -> dict[str, int]:
    return {"trainable": _trainable(model), "parameters": model.count_params()}


def _trainable(model: Any) -> int:
    return sum(math.prod(variable.shape) for variable in model.trainable_weights)


def _steps(images: int) -> int:
    return len(filled(np.arange(images, dtype=np.int32), _BATCH)[0])


def both_ways(project: Path) -> tuple[Any, Any, Features]:
    """Return the head that way A starts from, the same on its backbone in Keras, the features."""
    from headstart.keras.export.classifier import classifier

    params = read_params(project / "params.yaml")
    recorded = read_features(project / "data/features")
    shape = recorded.header.feature_shape
    spec = head_spec(params.train_head, shape, len(recorded.header.classes))
    head = build_head(spec, shape, derive(params.seed, "train_head"))
    load_head(head, {**dump_head(head), **statistics(spec, recorded.array("train"))})
    folder = project / "data/backbone"
    whole = classifier(read_backbone(folder), folder, None, spec, dump_head(head))
    for layer in whole.layers:
        layer.trainable = layer.name == head.name
    for own, theirs in zip(head.layers, whole.get_layer(head.name).layers, strict=True):
        theirs.trainable = own.trainable
    return head, whole, recorded


def compare(project: Path) -> dict[str, Any]:
    """Compare the probabilities of every image by both ways, on the same pixels."""
    head, whole, recorded = both_ways(project)
    manifest = read_split(project / "data/manifests/sample.csv")
    ways: list[tuple[Any, Any]] = []
    with ShardReader(project / "data/images") as reader:
        for split in SPLITS:
            rows = manifest[manifest["split"] == split]
            if list(rows["image_id"]) != list(recorded.rows(split)["image_id"]):
                raise RuntimeError(f"The features of {split} are of other images.")
            places = list(rows[["shard", "offset", "bytes", "image_id"]].itertuples(index=False))
            for start in range(0, len(rows), _BATCH):
                images = [reader.read(*place) for place in places[start : start + _BATCH]]
                size = whole.input_shape[1]
                batch = np.stack([pixels(image, size, gray16_bits=None) for image in images])
                features = recorded.array(split)[start : start + _BATCH]
                answers = whole.predict_on_batch(batch.astype(np.float32))
                ways.append((head.predict_on_batch(features), answers))
    a, b = (np.concatenate(parts).astype(np.float64) for parts in zip(*ways, strict=True))
    return {
        "images": len(a),
        "largest_difference": float(np.abs(a - b).max()),
        "same_first_guess": int((a.argmax(axis=1) == b.argmax(axis=1)).sum()),
        "lowest": float(a[:, 0].min()),
        "highest": float(a[:, 0].max()),
    }


def train(project: Path, images: Path) -> dict[str, Any]:
    """Train by ``fit`` on Keras' own data loader, and classify the test images."""
    params = read_params(project / "params.yaml").train_head
    keras.utils.set_random_seed(42)
    _, model, recorded = both_ways(project)
    classes = list(recorded.header.classes)
    parts = {
        split: keras.utils.image_dataset_from_directory(
            images / split, label_mode="categorical", class_names=classes,
            image_size=model.input_shape[1:3], batch_size=params.batch_size,
            shuffle=split == "train", seed=42, verbose=False,
        )
        for split in SPLITS
    }  # fmt: skip
    config = {"learning_rate": params.learning_rate}
    optimizer = keras.optimizers.get({"class_name": params.optimizer, "config": config})
    model.compile(optimizer, loss="categorical_crossentropy", metrics=["accuracy"])
    n = {split: len(part.file_paths) for split, part in parts.items()}
    model.fit(parts["train"], validation_data=parts["validation"], epochs=params.epochs, verbose=0)
    guesses = model.predict(parts["test"], verbose=0).argmax(axis=1)
    names = [Path(path).stem for path in parts["test"].file_paths]
    return {
        "passes": (n["train"] + n["validation"]) * params.epochs + n["test"],
        "epochs": params.epochs,
        "trainable": _trainable(model),
        "predicted": {name: classes[guess] for name, guess in zip(names, guesses, strict=True)},
    }


if __name__ == "__main__":
    what, *paths = sys.argv[1:]
    known: dict[str, Callable[..., dict[str, Any]]] = {
        "counts": counts,
        "compare": compare,
        "train": train,
    }
    if what not in known:
        sys.exit(__doc__)
    print(json.dumps(known[what](*map(Path, paths))))
