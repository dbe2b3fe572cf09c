"""Random views of the images for pretraining, drawn for a whole epoch at once.

A view is a crop, perhaps mirrored, and a change of colors, both as numbers: the network's input is
computed from them on the fly, and so is the teacher's target, as the mean of its map over the crop.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headstart._utils.seeds import derive
from pretraining.settings import TrainParams

Floats = npt.NDArray[np.float32]

# Shares of red, green and blue in brightness (ITU-R BT.601).
_LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Views:
    """One view for each image.

    Attributes
    ----------
    boxes : ndarray of shape (n, 4), float32
        Top, left, bottom, right as shares of the side; left > right where it is mirrored.
    colors : ndarray of shape (n, 3, 3), float32
        ``values @ colors`` mixes red, green and blue, values from -1 to 1.
    shifts : ndarray of shape (n, 3), float32
        Added afterwards.
    """

    boxes: Floats
    colors: Floats
    shifts: Floats


def draw_views(n: int, params: TrainParams, seed: int, epoch: int) -> Views:
    """Draw the views of one epoch: a function of its arguments alone."""
    generator = np.random.Generator(np.random.Philox(key=derive(seed, "views", epoch)))
    area = generator.uniform(params.least_area, 1.0, n)
    # As wide as high on average, from 3:4 to 4:3.
    stretch = np.exp(generator.uniform(-0.5, 0.5, n) * np.log(4 / 3))
    height, width = np.minimum(np.sqrt(area) / stretch, 1), np.minimum(np.sqrt(area) * stretch, 1)
    top, left = generator.random(n) * (1 - height), generator.random(n) * (1 - width)
    boxes = np.stack([top, left, top + height, left + width], axis=1)
    mirrored = generator.random(n) < 0.5
    boxes[mirrored] = boxes[mirrored][:, [0, 3, 2, 1]]
    saturation = 1 + generator.uniform(-params.color, params.color, n)
    saturation[generator.random(n) < params.gray] = 0
    contrast = 1 + generator.uniform(-params.color, params.color, n)
    brightness = generator.uniform(-params.color, params.color, n)
    gray = np.repeat(_LUMA[:, None], 3, axis=1)
    mix = saturation[:, None, None] * np.eye(3) + (1 - saturation)[:, None, None] * gray
    return Views(
        boxes.astype(np.float32),
        (contrast[:, None, None] * mix).astype(np.float32),
        np.repeat(brightness[:, None], 3, axis=1).astype(np.float32),
    )


def whole(n: int) -> Views:
    """Return the views of the images as they are."""
    boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (n, 1))
    colors = np.tile(np.eye(3, dtype=np.float32), (n, 1, 1))
    return Views(boxes, colors, np.zeros((n, 3), np.float32))


def targets(maps: npt.NDArray[np.floating], boxes: Floats) -> Floats:
    """Return the mean of the teacher's maps over each crop.

    Parameters
    ----------
    maps : ndarray of shape (n, side, side, d)
    boxes : ndarray of shape (n, 4), float32
        As in :class:`Views`.

    Returns
    -------
    ndarray of shape (n, d), float32
    """
    side = maps.shape[1]
    rows = _overlap(boxes[:, 0], boxes[:, 2], side)
    columns = _overlap(
        np.minimum(boxes[:, 1], boxes[:, 3]), np.maximum(boxes[:, 1], boxes[:, 3]), side
    )
    weights = (rows[:, :, None] * columns[:, None, :]).reshape(len(maps), 1, side * side)
    flat = maps.reshape(len(maps), side * side, -1).astype(np.float32)
    means: Floats = (weights @ flat)[:, 0].astype(np.float32)
    return means


def _overlap(start: Floats, stop: Floats, side: int) -> Floats:
    """Share of each span that falls into each of ``side`` cells."""
    edges = np.arange(side + 1, dtype=np.float32) / side
    inside = np.minimum(stop[:, None], edges[1:]) - np.maximum(start[:, None], edges[:-1])
    inside = np.maximum(inside, np.float32(0))
    shares: Floats = (inside / inside.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares
