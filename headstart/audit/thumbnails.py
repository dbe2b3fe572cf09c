"""The small gray thumbnails that images are compared by, with their mean color."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import HeadstartError, ImageError
from headstart._utils.machine import cores
from headstart._utils.memo import Memo, verifying
from headstart._utils.progress import progress
from headstart.audit.alignment import Thumbnails
from headstart.features.array_rows import empty
from headstart.features.forward_passes import Image
from headstart.images.resize import stretched_pixels
from headstart.images.version import decoder

SIDE = 64
_AT_ONCE = 256


@dataclass(frozen=True)
class Small:
    """The images of a data set, small.

    Attributes
    ----------
    gray : ndarray of shape (n, 64, 64), uint8
        Luminance of the whole image, stretched to a square. A gray image of 16 bits is spread over
        its own range: a camera of fewer bits would leave it dark, without detail to compare.
    color : ndarray of shape (n, 2), float64
        Mean difference of blue and red from the luminance, in gray levels; exact.
    saturation : ndarray of shape (n,), float64
        Mean distance of blue and red from the luminance; 0 for a gray image.
    """

    gray: Thumbnails
    color: npt.NDArray[np.float64]
    saturation: npt.NDArray[np.float64]


def small(images: Sequence[Image]) -> Small:
    """Decode images and make their thumbnails, which take 4 KiB each: of memory or, if they are
    many, of a temporary file in the cache folder.

    Those that an earlier run has made are kept in the cache folder, by the SHA-256 of the image.

    Raises
    ------
    HeadstartError
        Naming the image that cannot be decoded.
    """
    gray: Any = empty((len(images), SIDE, SIDE), np.uint8)
    colors = np.empty((len(images), 3))
    with (
        Memo("thumbnails", {"decoder": decoder([Path(__file__)])}) as memo,
        ThreadPoolExecutor(cores(), thread_name_prefix="thumbnails") as executor,
        progress(len(images), "Reading images", "image") as bar,
    ):
        for start in range(0, len(images), _AT_ONCE):
            chunk = images[start : start + _AT_ONCE]
            keys = [bytes.fromhex(each.image_id) for each in chunk]
            found = {} if verifying() else memo.get_many(keys)
            new = {key: each for key, each in zip(keys, chunk, strict=True) if key not in found}
            packed = (_packed(*each) for each in executor.map(_decoded, new.values()))
            made = dict(zip(new, packed, strict=True))
            memo.put_many(made.items())
            for index, key in enumerate(keys, start):
                value = found.get(key) or made[key]
                gray[index] = np.frombuffer(value, np.uint8, SIDE * SIDE).reshape(SIDE, SIDE)
                colors[index] = np.frombuffer(value, "<f8", offset=SIDE * SIDE)
            bar.update(len(chunk))
    return Small(gray, colors[:, :2], colors[:, 2])


def _packed(luminance: Thumbnails, color: npt.NDArray[np.float64]) -> bytes:
    return luminance.tobytes() + color.astype("<f8").tobytes()


def _decoded(image: Image) -> tuple[Any, Any]:
    try:
        return reduced(stretched_pixels(image.read(), SIDE))
    except ImageError as error:
        raise HeadstartError(
            f"{image.name} could not be decoded ({error}), although it was when it was imported. "
            "No duplicates were searched for. Run `dvc repro --force download` to import it again."
        ) from error


def reduced(rgb: npt.NDArray[np.uint8]) -> tuple[Thumbnails, npt.NDArray[np.float64]]:
    """Return luminance (ITU-R BT.601, in integers), and mean blue, red and saturation."""
    whole = rgb.astype(np.int64)
    luminance = (whole[..., 0] * 19595 + whole[..., 1] * 38470 + whole[..., 2] * 7471 + 32768) >> 16
    blue, red = whole[..., 2] - luminance, whole[..., 0] - luminance
    sums = np.array([blue.sum(), red.sum(), (np.abs(blue) + np.abs(red)).sum() / 2])
    return luminance.astype(np.uint8), sums / luminance.size
