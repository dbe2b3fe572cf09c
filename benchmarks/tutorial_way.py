"""The tutorials' way: a Keras data loader, the frozen backbone inside ``fit``, ten epochs.

Run by ``benchmarks/pipeline.py`` as a process of its own; prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def main() -> None:
    """Train a head on MobileNetV2 by ``fit`` over images in class folders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="class folders of images")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--size", type=int, default=224)
    options = parser.parse_args()

    import keras

    keras.utils.set_random_seed(42)
    parts = keras.utils.image_dataset_from_directory(
        options.folder, label_mode="categorical", image_size=(options.size, options.size),
        batch_size=32, validation_split=0.2, subset="both", seed=42, verbose=False,
    )  # fmt: skip
    base = keras.applications.MobileNetV2(
        input_shape=(options.size, options.size, 3), include_top=False, weights="imagenet"
    )
    base.trainable = False
    inputs = keras.Input((options.size, options.size, 3))
    values = keras.applications.mobilenet_v2.preprocess_input(inputs)
    values = keras.layers.GlobalAveragePooling2D()(base(values, training=False))
    values = keras.layers.BatchNormalization()(values)
    values = keras.layers.Dropout(0.2)(values)
    outputs = keras.layers.Dense(len(parts[0].class_names), activation="softmax")(values)
    model = keras.Model(inputs, outputs)
    model.compile("adam", loss="categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(
        parts[0], validation_data=parts[1], epochs=options.epochs, verbose=0
    ).history
    batches = (parts[0].cardinality() + parts[1].cardinality()).numpy()
    print(
        json.dumps(
            {
                "val_accuracy": float(history["val_accuracy"][-1]),
                "passes": int(batches) * 32 * options.epochs,
            }
        )
    )


if __name__ == "__main__":
    main()
