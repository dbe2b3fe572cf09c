"""Prepares small data sets with TensorFlow Datasets itself.

To be imported in a process of its own, because preparing imports TensorFlow and reading must not.
(Not run as a script: TFDS asks for the package that a builder stands in.)
"""

from __future__ import annotations

import importlib.abc
import importlib.resources
import importlib.resources.abc
import io
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from PIL import Image

# TFDS 4.9 imports it to prepare, and does not ask for it; the standard library has the same.
sys.modules.setdefault("importlib_resources", importlib.resources)

import tensorflow_datasets as tfds  # noqa: E402 - after the line above

COUNTS = {"train": 9, "test": 4, "extra": 2}


def jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG")
    return content.getvalue()


class TinyPets(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]  # untyped
    """Encoded images, an object that they show, and a class; one has none."""

    VERSION = tfds.core.Version("1.2.0")

    def _info(self) -> Any:
        features = {
            "image": tfds.features.Image(),
            "label": tfds.features.ClassLabel(names=["cat", "dog"]),
            "color": tfds.features.Text(),
            "animal": np.int64,
            "boxes": tfds.features.Sequence(tfds.features.BBoxFeature()),
            "words": tfds.features.Sequence(tfds.features.Sequence(np.int64)),
            "parts": tfds.features.Sequence({"spots": tfds.features.Sequence(np.int64)}),
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label")
        )

    def _split_generators(self, _: Any) -> dict[str, Any]:
        return {name: self._generate_examples(name) for name in COUNTS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        first = sum(list(COUNTS.values())[: list(COUNTS).index(split)])
        for number in range(COUNTS[split]):
            none = split == "train" and number == 8
            yield (
                number,
                {
                    "image": io.BytesIO(jpeg(first + number)),
                    "label": -1 if none else number % 2,
                    "color": ["black", "white", "red"][number % 3],
                    "animal": number // 3,
                    "boxes": [tfds.features.BBox(0.0, 0.0, 1.0, 1.0)] * (number % 3),
                    "words": [[1, 2], [3]],
                    "parts": [{"spots": [1, 2]}, {"spots": []}],
                },
            )


class TinyArrays(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]  # untyped
    """Arrays of pixels under names of their own, and no word on which is what."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> Any:
        features = {
            "pixels": tfds.features.Tensor(shape=(8, 9, 3), dtype=np.uint8),
            "kind": tfds.features.Text(),
            "type": tfds.features.Text(),
            "weight": np.float32,
        }
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _split_generators(self, _: Any) -> dict[str, Any]:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for number in range(4):
            pixels = np.random.default_rng(number).integers(0, 256, (8, 9, 3), dtype=np.uint8)
            yield number, {"pixels": pixels, "kind": "ab"[number % 2], "type": "x", "weight": 0.5}


class TinySizes(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]  # untyped
    """A data set with two configs, of which the first is the default."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name=name, version=tfds.core.Version("1.0.0"))
        for name in ("small", "big")
    ]

    def _info(self) -> Any:
        names = [f"{self.builder_config.name}_{kind}" for kind in ("cat", "dog")]
        features = {
            "image": tfds.features.Image(),
            "label": tfds.features.ClassLabel(names=names),
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label")
        )

    def _split_generators(self, _: Any) -> dict[str, Any]:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for number in range(4):
            yield number, {"image": io.BytesIO(jpeg(number)), "label": number % 2}


def main(folder: str) -> None:
    for file_format in ("tfrecord", "array_record"):
        for builder in (TinyPets, TinyArrays):
            made = builder(data_dir=f"{folder}/{file_format}", file_format=file_format)
            made.download_and_prepare()
    for config in ("small", "big"):
        TinySizes(config=config, data_dir=f"{folder}/tfrecord").download_and_prepare()
