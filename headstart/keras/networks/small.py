"""The small backbone of this project: a residual network of plain 3 × 3 convolutions.

Dense convolutions, because a CPU runs them near its peak: an image of 64 pixels costs 69 million
multiplications and 0.6 ms on one core, and a step of training half of what a network of depthwise
ones with 30 million costs. Sixteen pixels of the image make one of the last map.
"""

from __future__ import annotations

from typing import Any

from headstart.keras.runtime import fresh_names, keras

NAME = "headstart_small"

#: Channels and number of blocks of each stage; a stage halves the side of its map.
STAGES = ((64, 2), (96, 2), (160, 2))
STEM = 32
#: Channels of the last map, and so of the pooled features.
WIDTH = 576


def build_small(image_size: int | None) -> keras.Model:
    """The headless network, with the weights that Keras starts from.

    Parameters
    ----------
    image_size : int or None
        Side of the images in pixels, 32 at least; None: any, and another with every batch.

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
    """Two 3 × 3 convolutions beside a shortcut (He et al., 2016; the average: He, T. et al., 2019).

    A stride of 2 always comes with other channels, so both are the shortcut's business at once.
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
