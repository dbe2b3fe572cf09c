"""Way B of the tutorial: dense layers on the frozen backbone, run end to end by Keras in every
epoch.

    python -m tools.claims.way_b compare PROJECT
    python -m tools.claims.way_b train PROJECT IMAGES

PROJECT is a copy of this project in which way A has run: base, first weights of the head, division
and settings are taken from there. ``compare`` gives the probabilities of both ways before any
training; ``train`` trains on IMAGES, which holds train, validation and test over class folders.
Run by ``tools/claims`` as a process of its own; prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pandas as pd

from headstart._utils.seeds import derive
from headstart.backbones.record import read_backbone
from headstart.datasets.manifests import SPLITS, read_split
from headstart.datasets.shards import ShardReader
from headstart.features.folder import Features, read_features
from headstart.images.resize import pixels
from headstart.stage.parameters import read_params

_AT_ONCE = 32


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["compare", "train"])
    parser.add_argument("project", type=Path)
    parser.add_argument("images", type=Path, nargs="?")
    options = parser.parse_args()
    found = (
        compare(options.project)
        if options.what == "compare"
        else train(options.project, options.images)
    )
    print(json.dumps(found))


def both_ways(project: Path) -> tuple[Any, Any, Features]:
    """The head that way A starts from, the same on its backbone in Keras, and the features."""
    from headstart.keras.export.model import classifier
    from headstart.keras.training.head import build_head, dump_head, head_spec, set_statistics

    params = read_params(project / "params.yaml")
    recorded = read_features(project / "data/features")
    shape = recorded.header.feature_shape
    spec = head_spec(params.train_head, shape, len(recorded.header.classes))
    head = build_head(spec, shape, derive(params.seed, "train_head"))
    set_statistics(head, recorded.array("train"))
    folder = project / "data/backbone"
    whole = classifier(read_backbone(folder), folder, None, spec, dump_head(head))
    for layer in whole.layers:
        layer.trainable = layer.name == head.name
    return head, whole, recorded


def compare(project: Path) -> dict[str, Any]:
    """Probabilities of every image by both ways, before training, on the same pixels."""
    head, whole, recorded = both_ways(project)
    manifest = read_split(project / "data/manifests/sample.csv")
    size = whole.input_shape[1]
    ways: list[tuple[Any, Any]] = []
    with ShardReader(project / "data/images") as reader:
        for split in SPLITS:
            rows = manifest[manifest["split"] == split]
            if list(rows["image_id"]) != list(recorded.rows(split)["image_id"]):
                raise RuntimeError(f"The features of {split} are of other images.")
            for start in range(0, len(rows), _AT_ONCE):
                batch = decoded(reader, rows.iloc[start : start + _AT_ONCE], size)
                features = recorded.array(split)[start : start + _AT_ONCE]
                ways.append((head.predict_on_batch(features), whole.predict_on_batch(batch)))
    a, b = (np.concatenate(parts).astype(np.float64) for parts in zip(*ways, strict=True))
    return {
        "images": len(a),
        "largest_difference": float(np.abs(a - b).max()),
        "same_first_guess": int((a.argmax(axis=1) == b.argmax(axis=1)).sum()),
        "lowest": float(a[:, 0].min()),
        "highest": float(a[:, 0].max()),
    }


def decoded(reader: ShardReader, rows: pd.DataFrame, size: int) -> Any:
    """Pixels of rows of a manifest, (n, size, size, 3), float32, 0 to 255."""
    columns = (rows[name] for name in ("shard", "offset", "bytes", "image_id"))
    return np.stack(
        [
            pixels(reader.read(int(shard), int(offset), int(length), str(image_id)), size)
            for shard, offset, length, image_id in zip(*columns, strict=True)
        ]
    ).astype(np.float32)


def train(project: Path, images: Path) -> dict[str, Any]:
    """Train by ``fit`` on Keras' own data loader, and classify the test images."""
    from headstart.keras.runtime import keras

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
    optimizer = keras.optimizers.get(
        {"class_name": params.optimizer, "config": {"learning_rate": params.learning_rate}}
    )
    model.compile(optimizer, loss="categorical_crossentropy", metrics=["accuracy"])
    counts = {split: len(part.file_paths) for split, part in parts.items()}
    model.fit(parts["train"], validation_data=parts["validation"], epochs=params.epochs, verbose=0)
    guesses = model.predict(parts["test"], verbose=0).argmax(axis=1)
    names = [Path(path).stem for path in parts["test"].file_paths]
    learn = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    return {
        "passes": (counts["train"] + counts["validation"]) * params.epochs + counts["test"],
        "epochs": params.epochs,
        "trainable": learn,
        "predicted": {name: classes[guess] for name, guess in zip(names, guesses, strict=True)},
    }


if __name__ == "__main__":
    main()
