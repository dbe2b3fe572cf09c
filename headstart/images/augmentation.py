"""Augmented views of a training image: cached ones, and new ones in every epoch of fine-tuning.

A view depends on (seed, image, number) alone: not on the order of the images, on the number of
workers, or on the other changes that are switched on. Geometry is one affine map sampled by Pillow
(bilinear); uncovered pixels repeat the nearest edge. The conventions are those of Keras'
``ImageDataGenerator``, so that a tutorial's numbers keep their meaning.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart._utils import seeds
from headstart.images.augmentation_parameters import AugmentParams

#: Part of every record of the way views are made; changes whenever their bytes change.
SPEC = "affine-bilinear-edge/1"


@dataclass(frozen=True)
class View:
    """One draw of all random changes.

    Attributes
    ----------
    rotation, shear : float
        Degrees.
    shift_x, shift_y : float
        Shares of the side; positive values take pixels from further right and further down.
    zoom_x, zoom_y : float
        Width and height of the visible part, as a factor of the image's; 1 changes nothing.
    flip_x, flip_y : bool
        Mirrored left to right, upside down.
    brightness, contrast : float
        Factors of the pixel values, and of their distance from the image's mean gray.
    """

    rotation: float = 0.0
    shear: float = 0.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    zoom_x: float = 1.0
    zoom_y: float = 1.0
    flip_x: bool = False
    flip_y: bool = False
    brightness: float = 1.0
    contrast: float = 1.0


def draw(params: AugmentParams, seed: int, image_id: str, number: int) -> View:
    """Draw one of the views of an image: in fine-tuning, the number is the epoch.

    All random numbers are drawn in one fixed order, used or not, so that switching one change on
    does not alter the others.
    """
    key = seeds.derive(seed, "augment", image_id, number)
    generator = np.random.Generator(np.random.Philox(key=key))
    drawn = [float(value) for value in generator.random(10)]
    either_way = [2.0 * value - 1.0 for value in drawn]
    return View(
        rotation=params.rotation * either_way[0],
        shear=params.shear * either_way[1],
        shift_x=params.width_shift * either_way[2],
        shift_y=params.height_shift * either_way[3],
        zoom_x=1.0 + params.zoom * either_way[4],
        zoom_y=1.0 + params.zoom * either_way[5],
        flip_x=params.horizontal_flip and drawn[6] < 0.5,
        flip_y=params.vertical_flip and drawn[7] < 0.5,
        brightness=1.0 + params.brightness * either_way[8],
        contrast=1.0 + params.contrast * either_way[9],
    )


def first_alike(params: AugmentParams, seed: int, image_id: str, number: int) -> int:
    """Return the first of the views 1 to ``number`` that equals this one; 0 for the image itself.

    Only flips repeat: two draws of any other change are never equal.
    """
    if not params.flips_alone:
        return number
    views = [View(), *(draw(params, seed, image_id, other) for other in range(1, number + 1))]
    return views.index(views[-1])


def augment(
    pixels: NDArray[np.uint8], params: AugmentParams, seed: int, image_id: str, number: int
) -> NDArray[np.uint8]:
    """Return one of the views of an image.

    Parameters
    ----------
    pixels : ndarray of shape (height, width, 3), uint8
    params : AugmentParams
    seed : int
    image_id : str
        Identifies the image, so that it has the same view anywhere in the data.
    number : int
        Number of the view: the epoch, in fine-tuning.

    Returns
    -------
    ndarray of the same shape, uint8
        A new array; equal to ``pixels`` without any change.
    """
    return apply(pixels, draw(params, seed, image_id, number))


def apply(pixels: NDArray[np.uint8], view: View) -> NDArray[np.uint8]:
    """Apply geometry, then flips, then tone; a part that changes nothing costs nothing."""
    changed = pixels
    matrix = affine(view, pixels.shape[1], pixels.shape[0])
    if matrix != _IDENTITY:
        changed = _sample(changed, matrix)
    if view.flip_x:
        changed = changed[:, ::-1]
    if view.flip_y:
        changed = changed[::-1]
    if view.brightness != 1.0 or view.contrast != 1.0:
        changed = _tone(changed, view.brightness, view.contrast)
    return np.array(changed, dtype=np.uint8, order="C", copy=True)


_Affine = tuple[float, float, float, float, float, float]
_IDENTITY: _Affine = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def affine(view: View, width: int, height: int) -> _Affine:
    """Return the map from a target point (x, y) to its source: (a·x + b·y + c, d·x + e·y + f).

    Rotation · shift · shear · zoom about the center, the product that ``keras.preprocessing``
    composes.
    """
    turn, slant = math.radians(view.rotation), math.radians(view.shear)
    cos, sin = math.cos(turn), math.sin(turn)
    # Shear then zoom: x' = zx·x − sin(slant)·zy·y ; y' = cos(slant)·zy·y.
    xx, xy = view.zoom_x, -math.sin(slant) * view.zoom_y
    yy = math.cos(slant) * view.zoom_y
    a, b = cos * xx, cos * xy - sin * yy
    d, e = sin * xx, sin * xy + cos * yy
    move_x, move_y = view.shift_x * width, view.shift_y * height
    shift_x = cos * move_x - sin * move_y
    shift_y = sin * move_x + cos * move_y
    center_x, center_y = width / 2.0, height / 2.0
    c = center_x + shift_x - a * center_x - b * center_y
    f = center_y + shift_y - d * center_x - e * center_y
    return (a, b, c, d, e, f)


def _sample(pixels: NDArray[np.uint8], matrix: _Affine) -> NDArray[np.uint8]:
    """Return bilinear samples at the mapped points.

    Pillow has no fill that repeats the edge, so the image is padded as far as the map reaches:
    the corners of the target bound every point of it.
    """
    height, width = pixels.shape[:2]
    a, b, c, d, e, f = matrix
    corners = [(x, y) for x in (0, width) for y in (0, height)]
    across = [a * x + b * y + c for x, y in corners]
    down = [d * x + e * y + f for x, y in corners]
    left, right = _beyond(min(across), max(across), width)
    top, bottom = _beyond(min(down), max(down), height)
    padded = np.pad(pixels, ((top, bottom), (left, right), (0, 0)), mode="edge")
    moved = Image.fromarray(padded).transform(
        (width, height),
        Image.Transform.AFFINE,
        (a, b, c + left, d, e, f + top),
        resample=Image.Resampling.BILINEAR,
    )
    return np.asarray(moved)


def _beyond(low: float, high: float, size: int) -> tuple[int, int]:
    """Return the pixels that [low, high] reaches beyond [0, size], plus one for the filter."""
    return max(0, math.ceil(-low)) + 1, max(0, math.ceil(high - size)) + 1


def _tone(pixels: NDArray[np.uint8], brightness: float, contrast: float) -> NDArray[np.uint8]:
    """Change brightness, then contrast about the mean gray, by one table: it rounds once."""
    mean = brightness * float(
        np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).convert("L")).mean()
    )
    values = np.arange(256, dtype=np.float64) * brightness
    table = np.clip(np.rint(mean + (values - mean) * contrast), 0, 255).astype(np.uint8)
    return table[pixels]
