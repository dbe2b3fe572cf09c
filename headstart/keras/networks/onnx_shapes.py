"""The operations of ONNX that move numbers, and those that make sizes and constants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from headstart.keras.networks.onnx_values import Call, Translation, UnsupportedError, Value
from headstart.keras.runtime import tf


def _transpose(call: Call) -> Value:
    x = call.first
    order = call.options.get("perm", list(reversed(range(len(x.tensor.shape)))))
    if x.last and order == [0, 2, 3, 1]:
        return Value(x.tensor)
    if order == [0, 3, 1, 2] and not x.known:
        return Value(x.plain, last=True)
    return Value(tf.transpose(x.plain, order))


def _reshape(call: Call) -> Value:
    wanted = [int(side) for side in call.numbers(1, "shape")]
    x = call.first.plain
    if call.first.known:
        return Value(tf.reshape(x, wanted))
    if not call.options.get("allowzero", 0):
        own = [-1, *x.shape[1:]]  # 0 keeps the length of an axis.
        wanted = [side or int(own[place]) for place, side in enumerate(wanted)]
    if wanted[0] == 1:  # One image in the file; any number here.
        if -1 in wanted:
            rest = math.prod(side for side in wanted if side != -1)
            wanted[wanted.index(-1)] = math.prod(x.shape[1:]) // rest
        wanted[0] = -1
    if wanted[0] == -1 and wanted.count(-1) == 2:
        place = wanted.index(-1, 1)
        rest = math.prod(side for side in wanted if side != -1)
        wanted[place] = math.prod(x.shape[1:]) // rest
    return Value(tf.reshape(x, wanted))


def _flatten(call: Call) -> Value:
    if call.options.get("axis", 1) != 1:
        raise UnsupportedError("only `axis: 1` is translated")
    x = call.first.plain
    return Value(tf.reshape(x, (-1, math.prod(x.shape[1:]))))


def _squeeze(call: Call) -> Value:
    axes, x = call.numbers(1, "axes"), call.first.plain
    if axes is None and not call.first.known:
        raise UnsupportedError("the axes that it removes are not given")
    return Value(tf.squeeze(x, axes))


def _unsqueeze(call: Call) -> Value:
    axes, x = call.numbers(1, "axes", ()), call.first.plain
    rank = len(x.shape) + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = tf.expand_dims(x, axis)
    return Value(x)


def _concat(call: Call) -> Value:
    values = [value for value in call.inputs if value is not None]
    rank, last = len(call.first.tensor.shape), any(value.last for value in values)
    axis = call.options["axis"] % rank
    tensors = [value.map if last else value.plain for value in values]
    axis = (0, 3, 1, 2)[axis] if last else axis
    if axis and not all(value.known for value in values):
        tensors = _as_many(tensors)
    return Value(tf.concat(tensors, axis), last)


def _as_many(tensors: Sequence[Any]) -> list[Any]:
    """Repeat what exists once, such as a class token, for each image."""
    many = next((each for each in tensors if each.shape[0] is None), None)
    count = max(each.shape[0] for each in tensors) if many is None else tf.shape(many)[0]
    return [
        tf.tile(each, [count, *([1] * (len(each.shape) - 1))])
        if each.shape[0] == 1 and (many is not None or count != 1)
        else each
        for each in tensors
    ]


def _split(call: Call) -> list[Value]:
    axis, x = call.options.get("axis", 0), call.first.plain
    sizes = call.numbers(1, "split") or call.options["num_outputs"]
    return [Value(part) for part in tf.split(x, sizes, axis)]


def _slice(call: Call) -> Value:
    x = call.first.plain
    starts, ends = call.numbers(1, "starts"), call.numbers(2, "ends")
    axes = call.numbers(3, "axes", list(range(len(starts))))
    steps = call.numbers(4, "steps", [1] * len(starts))
    found: list[Any] = [slice(None)] * len(x.shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        most = np.iinfo(np.int32).max
        found[axis] = slice(start, None if abs(end) >= most else end, step)
    return Value(x[tuple(found)])


def _gather(call: Call) -> Value:
    where = call.inputs[1]
    if where is None or not where.known:
        raise UnsupportedError("it looks up places that depend on the image")
    axis, x = call.options.get("axis", 0), call.first.plain
    places = where.tensor
    return Value(
        tf.gather(x, np.where(places < 0, places + int(x.shape[axis] or 0), places), axis=axis)
    )


def _expand(call: Call) -> Value:
    wanted, x = [int(side) for side in call.numbers(1, "shape")], call.first.plain
    own = [1] * (len(wanted) - len(x.shape)) + [side or -1 for side in x.shape]
    wide = [1] * (len(own) - len(wanted)) + wanted
    if all(b in {1, -1} or a == b for a, b in zip(own, wide, strict=True)):
        return Value(x)
    if -1 in own:
        raise UnsupportedError("it repeats what belongs to an image")
    return Value(tf.broadcast_to(x, [max(a, b) for a, b in zip(own, wide, strict=True)]))


def _shape(call: Call) -> Value:
    x = call.first
    sides = list(x.plain.shape)
    # The number of images is not known: -1, as a new shape may say it.
    found = [side if place or x.known else -1 for place, side in enumerate(sides)]
    chosen = found[call.options.get("start", 0) : call.options.get("end", len(found))]
    return Value(np.asarray(chosen, np.int64))


def _constant(call: Call) -> Value:
    from onnx import numpy_helper

    (name, value), *_ = call.options.items()
    if name == "value":
        return Value(np.asarray(numpy_helper.to_array(value)))
    kinds = {"value_float": "f4", "value_floats": "f4", "value_int": "i8", "value_ints": "i8"}
    if name not in kinds:
        raise UnsupportedError(f"its {name} is not translated")
    return Value(np.asarray(value, kinds[name]))


def _constant_of_shape(call: Call) -> Value:
    from onnx import numpy_helper

    given = call.options.get("value")
    value = np.zeros(1, np.float32) if given is None else numpy_helper.to_array(given)
    sides = call.first.numbers
    if math.prod(abs(side) for side in sides) > 1 << 24:
        raise UnsupportedError("it makes an array that no backbone needs")
    return Value(np.full([abs(side) for side in sides], value.reshape(-1)[0], value.dtype))


def _pad(call: Call) -> Value:
    pads, given = call.numbers(1, "pads"), call.input(2)
    mode = call.options.get("mode", b"constant").decode()
    if call.input(3) is not None or mode not in {"constant", "reflect"} or min(pads) < 0:
        raise UnsupportedError("this padding is not translated")
    x, half = call.first, len(pads) // 2
    pairs = [[pads[place], pads[place + half]] for place in range(half)]
    fill = 0.0 if given is None else float(given.numbers[0])
    if half == 4 and pairs[0] == [0, 0]:
        pairs = [pairs[place] for place in (0, 2, 3, 1)]
        return Value(tf.pad(x.map, pairs, mode, constant_values=fill), last=True)
    return Value(tf.pad(x.plain, pairs, mode, constant_values=fill))


#: Their translations, by the name in ONNX.
SHAPES: dict[str, Translation] = {
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Pad": _pad,
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
