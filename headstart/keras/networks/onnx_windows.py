"""The operations of ONNX that move a window over a map: convolutions and pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from headstart.keras.networks.onnx_values import Call, Translation, UnsupportedError, Value
from headstart.keras.runtime import tf

_LOWEST = float(np.finfo(np.float32).min)


def _window(call: Call, kernel: Sequence[int], map_shape: Sequence[int]) -> tuple[Any, ...]:
    """Return strides, dilations, TensorFlow's name of the padding, and explicit padding."""
    strides = call.options.get("strides", [1, 1])
    dilations = call.options.get("dilations", [1, 1])
    pads = call.options.get("pads", [0, 0, 0, 0])
    auto = call.options.get("auto_pad", b"NOTSET")
    if len(kernel) != 2 or call.options.get("ceil_mode", 0) or auto == b"SAME_LOWER":
        raise UnsupportedError("only windows over two axes, rounded down, are translated")
    if auto == b"SAME_UPPER":
        return strides, dilations, "SAME", None
    same = []
    for side, width, stride, dilation in zip(map_shape, kernel, strides, dilations, strict=True):
        reach = (width - 1) * dilation + 1
        total = max((math.ceil(side / stride) - 1) * stride + reach - side, 0)
        same.append((total // 2, total - total // 2))
    ((top, bottom), (left, right)) = same
    if pads == [top, left, bottom, right]:
        return strides, dilations, "SAME", None
    explicit = [[0, 0], [pads[0], pads[2]], [pads[1], pads[3]], [0, 0]] if any(pads) else None
    return strides, dilations, "VALID", explicit


def _convolution(call: Call) -> Value:
    weights, bias, groups = call.inputs[1], call.input(2), call.options.get("group", 1)
    if weights is None:
        raise UnsupportedError("its kernel is left out")
    x, kernel = call.first.map, weights.tensor
    outputs, inputs, *sides = (int(side) for side in kernel.shape)
    strides, dilations, padding, explicit = _window(call, sides, x.shape[1:3])
    if explicit:
        x = tf.pad(x, explicit)
    if groups == 1:
        kernel = tf.transpose(kernel, (2, 3, 1, 0))
        found = tf.nn.conv2d(x, kernel, strides, padding, dilations=dilations)
    elif inputs == 1 and groups == x.shape[3]:
        kernel = tf.reshape(kernel, (groups, outputs // groups, *sides))
        kernel = tf.transpose(kernel, (2, 3, 0, 1))
        found = tf.nn.depthwise_conv2d(x, kernel, (1, *strides, 1), padding, dilations=dilations)
    else:
        kernel = tf.transpose(kernel, (2, 3, 1, 0))
        parts = zip(tf.split(x, groups, 3), tf.split(kernel, groups, 3), strict=True)
        found = tf.concat(
            [tf.nn.conv2d(a, b, strides, padding, dilations=dilations) for a, b in parts], 3
        )
    return Value(found if bias is None else tf.nn.bias_add(found, bias.tensor), last=True)


def _max_pool(call: Call) -> Value:
    x, kernel = call.first.map, call.options["kernel_shape"]
    strides, dilations, padding, explicit = _window(call, kernel, x.shape[1:3])
    if dilations != [1, 1]:
        raise UnsupportedError("windows with gaps are not translated")
    if explicit:
        x = tf.pad(x, explicit, constant_values=_LOWEST)
    return Value(tf.nn.max_pool2d(x, kernel, strides, padding), last=True)


def _average_pool(call: Call) -> Value:
    x, kernel = call.first.map, call.options["kernel_shape"]
    strides, _, padding, explicit = _window(call, kernel, x.shape[1:3])
    counts = bool(call.options.get("count_include_pad", 0))
    if counts and padding == "SAME" and any(call.options.get("pads", ())):
        top, left, bottom, right = call.options["pads"]
        padding, explicit = "VALID", [[0, 0], [top, bottom], [left, right], [0, 0]]
    if explicit and not counts:
        raise UnsupportedError("an average that leaves out this padding is not translated")
    x = tf.pad(x, explicit) if explicit else x
    return Value(tf.nn.avg_pool2d(x, kernel, strides, padding), last=True)


#: Their translations, by the name in ONNX.
WINDOWS: dict[str, Translation] = {
    "AveragePool": _average_pool,
    "Conv": _convolution,
    "MaxPool": _max_pool,
}
