"""Write the targets of the small network: a large network's features of each image."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from headstart._utils.progress import progress
from headstart.backbones.litert import LiteRTFunction
from headstart.features.npy import write_npy
from pretraining.settings import TeacherParams, parse_paths, read_settings

_AT_ONCE = 64
_FILTER = Image.Resampling.BICUBIC


def write_targets(
    path: Path, images: npt.NDArray[np.uint8], network: bytes, params: TeacherParams, workers: int
) -> None:
    """Write the teacher's maps of all images, in few components, as one ``.npy`` file.

    The components are the principal ones of the pooled features, each divided by the root of its
    deviation: between the raw features, where a few components decide every angle, and whitened
    ones, where noise weighs as much as sense.

    Parameters
    ----------
    path : Path
        Becomes float16 of shape (n, side, side, components).
    images : ndarray of shape (n, height, width, 3), uint8
    network : bytes
        The teacher; see :func:`converted`.
    workers : int
        Threads, an interpreter each. They do not decide bits.
    """
    chosen = np.linspace(0, len(images) - 1, min(params.fitted_on, len(images))).astype(int)
    sample = np.concatenate(list(maps(images[chosen], network, params.image_size, workers)))
    mean, axes = principal(sample.mean(axis=(1, 2)), params.components)
    shape = (*sample.shape[1:3], axes.shape[1])
    rows = (
        row
        for part in maps(images, network, params.image_size, workers)
        for row in (part - mean) @ axes
    )
    write_npy(path, len(images), shape, "float16", rows)


def principal(
    features: npt.NDArray[np.float32], components: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return mean and half-whitened principal axes.

    Parameters
    ----------
    features : ndarray of shape (n, d), float32
    components : int
        At most d are returned.

    Returns
    -------
    mean : ndarray of shape (d,), float32
    axes : ndarray of shape (d, components), float32
        ``(x - mean) @ axes`` has deviations that are the roots of the principal ones.
    """
    mean = features.mean(axis=0, dtype=np.float64)
    centered = features - mean
    values, vectors = np.linalg.eigh(centered.T @ centered / len(features))
    keep = slice(None, -components - 1, -1)
    deviations = np.sqrt(np.maximum(values[keep], 1e-12))
    axes = vectors[:, keep] / np.sqrt(deviations)
    return mean.astype(np.float32), axes.astype(np.float32)


def maps(
    images: npt.NDArray[np.uint8], network: bytes, size: int, workers: int
) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the network's outputs for 64 images at a time, resized to it, in order."""

    def run(function: LiteRTFunction, part: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        large = [Image.fromarray(each).resize((size, size), _FILTER) for each in part]
        return function(np.stack([np.asarray(each) for each in large]))

    functions = [LiteRTFunction(network) for _ in range(workers)]
    with ThreadPoolExecutor(workers) as pool, progress(len(images), "Network", "image") as bar:
        for start in range(0, len(images), _AT_ONCE * workers):
            parts = [
                images[first : first + _AT_ONCE]
                for first in range(start, min(start + _AT_ONCE * workers, len(images)), _AT_ONCE)
            ]
            for found in pool.map(run, functions, parts):
                yield found
                bar.update(len(found))


def converted(
    name: str,
    alpha: float,
    image_size: int,
    weights: str,
    seed: int,
    pooling: Literal["avg", "none"],
) -> bytes:
    """Return a backbone as a LiteRT file: pixels, uint8, to averaged features or to the last map.

    ImageNet weights are those of the backbone's default size, whatever ``image_size``: one file to
    fetch, the same numbers wherever it is measured, and the better ones for enlarged images.
    """
    from headstart.backbones.registry import find
    from headstart.keras.networks.backbone import build_backbone, feature_model
    from headstart.keras.networks.conversion import to_tflite
    from headstart.keras.networks.pretrained import obtain

    spec = find(name, alpha, image_size)
    backbone = build_backbone(name, alpha, image_size)
    source_size = spec.default_size if weights == "imagenet" else image_size
    backbone.set_weights(obtain(name, alpha, source_size, weights, seed).backbone.get_weights())
    return to_tflite(feature_model(backbone, None, pooling, spec.preprocessing))


def main() -> None:
    """Read the options and the parameters, then run the teacher over all images."""
    given = parse_paths("teacher", __doc__, "params", "images", "targets")
    teacher = read_settings(given.params).teacher
    images = np.load(given.images, mmap_mode="r", allow_pickle=False)
    size, weights = teacher.image_size, teacher.weights
    network = converted(teacher.name, teacher.alpha, size, weights, 0, "none")
    write_targets(given.targets, images, network, teacher, os.cpu_count() or 1)


if __name__ == "__main__":
    main()
