"""Features by Keras' own means: ``predict`` over ``image_dataset_from_directory``.

Run by ``benchmarks/extraction.py`` as a process of its own. Writes the features as ``.npy`` and,
beside it, the order of the files as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def main() -> None:
    """Predict and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="class folders, or a .npy of uint8 pixels")
    parser.add_argument("target", type=Path, help="the .npy to write")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--alpha", type=float, default=1.0)
    options = parser.parse_args()

    import keras
    import numpy as np

    shape = (options.size, options.size, 3)
    inputs = keras.Input(shape)
    values = keras.applications.mobilenet_v2.preprocess_input(inputs)
    base = keras.applications.MobileNetV2(
        input_shape=shape, alpha=options.alpha, include_top=False, pooling="avg"
    )
    model = keras.Model(inputs, base(values, training=False))
    if options.source.is_dir():
        images = keras.utils.image_dataset_from_directory(
            options.source, label_mode=None, image_size=shape[:2], batch_size=32, shuffle=False,
            verbose=False,
        )  # fmt: skip
        names = [str(Path(path).relative_to(options.source)) for path in images.file_paths]
        options.target.with_suffix(".json").write_text(json.dumps(names))
    else:
        images = np.load(options.source, mmap_mode="r", allow_pickle=False).astype(np.float32)
    np.save(options.target, model.predict(images, batch_size=32, verbose=0), allow_pickle=False)


if __name__ == "__main__":
    main()
