"""The backbone of this project: a residual network of 3 × 3 convolutions, and its weights.

It has dense convolutions, because a CPU runs them near its peak: an image of 64 pixels costs 69
million multiplications and 0.6 ms on one core, and a training step costs half of what a depthwise
network with 30 million costs. One position of the last map stands for 16 × 16 pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from headstart._utils.errors import CorruptFileError
from headstart._utils.files import sha256_file
from headstart.backbones.weights import read_npz, write_npz
from headstart.keras.runtime import fresh_names, keras

NAME = "headstart_small"

#: Channels and number of blocks of each stage; a stage halves the side of its map.
STAGES = ((64, 2), (96, 2), (160, 2))
STEM = 32
#: Channels of the last map, and so of the pooled features.
WIDTH = 576

#: The shipped weights in float16: half the size, and no feature moves by more than about a
#: thousandth of its standard deviation.
SHIPPED = Path(__file__).parent / "weights" / "headstart-small.npz"
#: Stands in the code so that other weights are other code, on which the stage depends.
SHIPPED_SHA256 = "6a1298dee7711c97e4294612567af5c44374c22bced1b8ab45fddd25e7124780"


def build_small(image_size: int | None) -> keras.Model:
    """Build the headless network with Keras' initial weights.

    Parameters
    ----------
    image_size : int or None
        Side of the images in pixels, at least 32. With None, each batch may have another size.

    Returns
    -------
    keras.Model
        From images, float32 of shape (n, image_size, image_size, 3), -1 to 1, to a map of shape
        (n, ceil(image_size / 16), ceil(image_size / 16), 576). Blocks are named ``block_1`` to
        ``block_6``; each ends with ``block_N_add`` and its activation ``block_N_out``.
    """
    with fresh_names():
        images = keras.Input((image_size, image_size, 3), name="images")
        tensor = _convolution(images, STEM, 3, 2, "stem", "relu")
        number = 0
        for channels, blocks in STAGES:
            for position in range(blocks):
                number += 1
                tensor = _block(tensor, channels, 1 if position else 2, f"block_{number}")
        tensor = _convolution(tensor, WIDTH, 1, 1, "top", "relu")
        return keras.Model(images, tensor, name=NAME)


def _block(tensor: Any, channels: int, stride: int, name: str) -> Any:
    """Add two 3 × 3 convolutions beside a shortcut (He et al., 2016).

    A stride of 2 always comes with another number of channels, so the shortcut adapts both, with
    the average of He, T. et al., 2019.
    """
    inner = _convolution(tensor, channels, 3, stride, f"{name}_1", "relu")
    inner = _convolution(inner, channels, 3, 1, f"{name}_2", None)
    if stride > 1:
        tensor = keras.layers.AveragePooling2D(
            stride, padding="same", name=f"{name}_shortcut_average"
        )(tensor)
        tensor = _convolution(tensor, channels, 1, 1, f"{name}_shortcut", None)
    joined = keras.layers.Add(name=f"{name}_add")([inner, tensor])
    return keras.layers.ReLU(name=f"{name}_out")(joined)


def _convolution(
    tensor: Any, channels: int, side: int, stride: int, name: str, activation: str | None
) -> Any:
    tensor = keras.layers.Conv2D(
        channels,
        side,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(tensor)
    tensor = keras.layers.BatchNormalization(name=f"{name}_bn")(tensor)
    return keras.layers.ReLU(name=f"{name}_relu")(tensor) if activation else tensor


def load_shipped(backbone: keras.Model) -> None:
    """Load the shipped weights into a backbone.

    Raises
    ------
    CorruptFileError
        If the file is not the published one, or the backbone is another network.
    """
    found = sha256_file(SHIPPED) if SHIPPED.is_file() else "absent"
    if found != SHIPPED_SHA256:
        raise CorruptFileError(
            f"{SHIPPED} is not the file that belongs to this version: expected sha256 "
            f"{SHIPPED_SHA256}, got {found}. Nothing was loaded. Restore it (`git checkout "
            f"{SHIPPED.name}` in its folder), or install Headstart again."
        )
    load_npz(backbone, SHIPPED)


def write_shipped(path: Path, backbone: keras.Model) -> None:
    """Write the weights of a backbone as float16, by their names in it."""
    write_npz(path, {_key(each): np.asarray(each) for each in backbone.weights}, half=True)


def load_npz(backbone: keras.Model, path: Path) -> None:
    """Load a file that :func:`write_shipped` wrote into a backbone.

    Raises
    ------
    CorruptFileError
        If the file is damaged or holds the weights of another network.
    """
    found = read_npz(path, {_key(each): tuple(each.shape) for each in backbone.weights})
    for weight in backbone.weights:
        weight.assign(found[_key(weight)])


def _key(weight: Any) -> str:
    return str(weight.path).replace("/", ".")
