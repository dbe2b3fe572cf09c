"""What a large network sees in each image, once: the targets that the small one learns."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from headstart._utils.files import atomic_file
from headstart._utils.progress import progress
from headstart.backbones.litert import LiteRTFunction
from pretraining.recipe import TeacherParams

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
        As :func:`pretraining.teacher_network.teacher_network` made it.
    workers : int
        Threads, an interpreter each. They do not decide bits.
    """
    chosen = np.linspace(0, len(images) - 1, min(params.fitted_on, len(images))).astype(int)
    sample = np.concatenate(list(_maps(images[chosen], network, params.image_size, workers)))
    mean, axes = principal(sample.mean(axis=(1, 2)), params.components)
    shape = (len(images), *sample.shape[1:3], axes.shape[1])
    with atomic_file(path) as file:
        header = {"descr": "<f2", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for maps in _maps(images, network, params.image_size, workers):
            file.write(((maps - mean) @ axes).astype("<f2").tobytes())


def principal(
    features: npt.NDArray[np.float32], components: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Mean and half-whitened principal axes.

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


def _maps(
    images: npt.NDArray[np.uint8], network: bytes, size: int, workers: int
) -> Iterator[npt.NDArray[np.float32]]:
    """The maps of 64 images at a time, in order."""

    def run(function: LiteRTFunction, part: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        large = [Image.fromarray(each).resize((size, size), _FILTER) for each in part]
        return function(np.stack([np.asarray(each) for each in large]))

    functions = [LiteRTFunction(network) for _ in range(workers)]
    with ThreadPoolExecutor(workers) as pool, progress(len(images), "Teacher", "image") as bar:
        for start in range(0, len(images), _AT_ONCE * workers):
            parts = [
                images[first : first + _AT_ONCE]
                for first in range(start, min(start + _AT_ONCE * workers, len(images)), _AT_ONCE)
            ]
            for maps in pool.map(run, functions, parts):
                yield maps
                bar.update(len(maps))
