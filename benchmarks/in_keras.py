"""The way of a user with Keras alone, as a separate process for the other benchmarks.

    python -m benchmarks.in_keras predict IMAGES TARGET [--size 224] [--alpha 1.0]
    python -m benchmarks.in_keras fit IMAGES [--size 224] [--epochs 10]

``predict`` writes features by ``predict`` over ``image_dataset_from_directory`` to TARGET, a
``.npy``, and the order of the files as JSON beside it; IMAGES may be a ``.npy`` of uint8 pixels.
``fit`` is the tutorials' way: a Keras data loader and the frozen backbone inside ``fit``; it prints
one line of JSON.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import typer

from benchmarks.checkout import Size


def predict(images: Path, target: Path, size: Size = 224, alpha: float = 1.0) -> None:
    """Predict and write."""
    inputs, base, values = network(size, alpha)
    features = keras.layers.GlobalAveragePooling2D()(base(values, training=False))
    model = keras.Model(inputs, features)
    batches: Any
    if images.is_dir():
        batches = keras.utils.image_dataset_from_directory(
            images, label_mode=None, image_size=(size, size), batch_size=32, shuffle=False,
            verbose=False,
        )  # fmt: skip
        names = [str(Path(path).relative_to(images)) for path in batches.file_paths]
        target.with_suffix(".json").write_text(json.dumps(names))
    else:
        batches = np.load(images, mmap_mode="r", allow_pickle=False).astype(np.float32)
    np.save(target, model.predict(batches, batch_size=32, verbose=0), allow_pickle=False)


def fit(images: Path, size: Size = 224, epochs: int = 10) -> None:
    """Train a head on MobileNetV2 by ``fit`` over images in class folders."""
    keras.utils.set_random_seed(42)
    parts = keras.utils.image_dataset_from_directory(
        images, label_mode="categorical", image_size=(size, size), batch_size=32,
        validation_split=0.2, subset="both", seed=42, verbose=False,
    )  # fmt: skip
    inputs, base, values = network(size, 1.0)
    base.trainable = False
    values = keras.layers.GlobalAveragePooling2D()(base(values, training=False))
    values = keras.layers.Dropout(0.2)(keras.layers.BatchNormalization()(values))
    outputs = keras.layers.Dense(len(parts[0].class_names), activation="softmax")(values)
    model = keras.Model(inputs, outputs)
    model.compile("adam", loss="categorical_crossentropy", metrics=["accuracy"])
    fitted = model.fit(parts[0], validation_data=parts[1], epochs=epochs, verbose=0)
    batches = int(sum(part.cardinality() for part in parts))
    accuracy = float(fitted.history["val_accuracy"][-1])
    print(json.dumps({"val_accuracy": accuracy, "passes": batches * 32 * epochs}))


def network(size: int, alpha: float) -> tuple[Any, Any, Any]:
    """Return the input, MobileNetV2 without its top, and the preprocessed input."""
    inputs = keras.Input((size, size, 3))
    base = keras.applications.MobileNetV2(
        input_shape=(size, size, 3), alpha=alpha, include_top=False, weights="imagenet"
    )
    return inputs, base, keras.applications.mobilenet_v2.preprocess_input(inputs)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False)
    app.command()(predict)
    app.command()(fit)
    app()
