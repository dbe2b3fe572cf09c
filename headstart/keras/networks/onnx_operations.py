"""The operations of ONNX that a backbone may consist of, as operations of TensorFlow.

ONNX puts the channels of a map second, TensorFlow computes with channels last. A map therefore
stays channels last until an operation needs it in ONNX's order, and two reorderings in a row
disappear. Whatever is not in :data:`OPERATIONS` is refused, and a translated network counts only
if it agrees with the original (:mod:`headstart.keras.networks.network_file`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.keras.runtime import tf

_LOWEST = float(np.finfo(np.float32).min)


class UnsupportedError(Exception):
    """An operation, or a way of using it, that is not translated; a sentence without a period."""


@dataclass(frozen=True)
class Value:
    """A tensor of the network.

    Attributes
    ----------
    tensor : tf.Tensor or ndarray
        An array is known before any image is.
    last : bool
        True if it is a map whose channels are last, where ONNX has them second.
    """

    tensor: Any
    last: bool = False

    @property
    def known(self) -> bool:
        """Whether it depends on no image and no weight with two or more axes."""
        return isinstance(self.tensor, np.ndarray)

    @property
    def plain(self) -> Any:
        """The tensor in ONNX's order."""
        return tf.transpose(self.tensor, (0, 3, 1, 2)) if self.last else self.tensor

    @property
    def map(self) -> Any:
        """The tensor with channels last; fewer axes are filled up as in a broadcast."""
        if self.last:
            return self.tensor
        array, rank = self.tensor, len(self.tensor.shape)
        if rank < 4:
            array = tf.reshape(array, [1] * (4 - rank) + [int(side) for side in array.shape])
        return tf.transpose(array, (0, 2, 3, 1))

    @property
    def numbers(self) -> list[Any]:
        """The numbers of a known tensor, such as sizes and axes."""
        if not self.known:
            raise UnsupportedError("it needs a size that depends on the image")
        return list(np.atleast_1d(self.tensor).tolist())


@dataclass(frozen=True)
class Call:
    """A use of an operation: its options and its inputs, None where one is left out."""

    options: dict[str, Any]
    inputs: tuple[Value | None, ...]

    @property
    def first(self) -> Value:
        """The first input, which every operation with inputs has."""
        found = self.inputs[0]
        if found is None:
            raise UnsupportedError("its first input is left out")
        return found

    def input(self, place: int) -> Value | None:
        """Return an input that may be left out."""
        return self.inputs[place] if place < len(self.inputs) else None

    def numbers(self, place: int, name: str, default: Any = None) -> Any:
        """Return what newer versions of an operation have as an input, older ones as an option."""
        given = self.input(place)
        return self.options.get(name, default) if given is None else given.numbers


def _pointwise(function: Callable[..., Any], *names: str) -> Callable[[Call], Value]:
    """Return the translation of an operation on each number, with these options."""

    def translated(call: Call) -> Value:
        chosen = {name: call.options[name] for name in names if name in call.options}
        return Value(function(call.first.tensor, **chosen), call.first.last)

    return translated


def _joined(function: Callable[[Any, Any], Any]) -> Callable[[Call], Value]:
    """Return the translation of an operation on pairs of numbers, or more than two inputs."""

    def translated(call: Call) -> Value:
        found = call.first
        for other in call.inputs[1:]:
            if other is None:
                raise UnsupportedError("an input of it is left out")
            if found.last or other.last:
                found = Value(function(found.map, other.map), last=True)
            else:
                found = Value(function(found.tensor, other.tensor))
        return found

    return translated


def _gelu(x: Any, approximate: bytes = b"none") -> Any:
    return tf.nn.gelu(x, approximate=approximate == b"tanh")


def _hard_sigmoid(x: Any, alpha: float = 0.2, beta: float = 0.5) -> Any:
    return tf.clip_by_value(x * np.float32(alpha) + np.float32(beta), 0.0, 1.0)


def _hard_swish(x: Any) -> Any:
    return x * tf.nn.relu6(x + 3.0) * np.float32(1 / 6)


def _clip(call: Call) -> Value:
    low, high = (call.numbers(place, name) for place, name in ((1, "min"), (2, "max")))
    low, high = (bound[0] if isinstance(bound, list) else bound for bound in (low, high))
    x = call.first.tensor
    if low == 0 and high == 6:
        return Value(tf.nn.relu6(x), call.first.last)
    x = x if low is None else tf.maximum(x, tf.cast(low, x.dtype))
    return Value(x if high is None else tf.minimum(x, tf.cast(high, x.dtype)), call.first.last)


def _cast(call: Call) -> Value:
    from onnx import helper

    to = helper.tensor_dtype_to_np_dtype(call.options["to"])
    return Value(tf.cast(call.first.tensor, tf.as_dtype(to)), call.first.last)


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


def _reduced(function: Callable[..., Any]) -> Callable[[Call], Value]:
    def translated(call: Call) -> Value:
        axes, keep = call.numbers(1, "axes"), bool(call.options.get("keepdims", 1))
        x = call.first
        if x.last and axes is not None and sorted(axis % 4 for axis in axes) == [2, 3]:
            return Value(function(x.tensor, (1, 2), keep), last=keep)
        if axes is None and call.options.get("noop_with_empty_axes", 0):
            return x
        return Value(function(x.plain, axes, keep))

    return translated


def _global(function: Callable[..., Any]) -> Callable[[Call], Value]:
    return lambda call: Value(function(call.first.map, (1, 2), True), last=True)


def _root_of_squares(x: Any, axes: Any, keep: Any) -> Any:
    return tf.sqrt(tf.reduce_sum(x * x, axes, keep))


def _batch_normalization(call: Call) -> Value:
    scale, shift, mean, variance = (_array(value) for value in call.inputs[1:5])
    factor = scale / np.sqrt(variance + call.options.get("epsilon", 1e-5))
    offset = (shift - mean * factor).astype(np.float32)
    x = call.first
    if len(x.tensor.shape) == 4:
        return Value(x.map * factor.astype(np.float32) + offset, last=True)
    return Value(x.tensor * factor.astype(np.float32) + offset)


def _array(value: Value | None) -> Any:
    if value is None or not value.known:
        raise UnsupportedError("its statistics are not in the file")
    return value.tensor.astype(np.float64)


def _layer_normalization(call: Call) -> Value:
    x, rank = call.first.plain, len(call.first.tensor.shape)
    axis = call.options.get("axis", -1) % rank
    axes = list(range(axis, rank))
    mean = tf.reduce_mean(x, axes, keepdims=True)
    variance = tf.reduce_mean(tf.math.squared_difference(x, mean), axes, keepdims=True)
    found = (x - mean) * tf.math.rsqrt(variance + np.float32(call.options.get("epsilon", 1e-5)))
    for place, join in ((1, tf.multiply), (2, tf.add)):
        given = call.input(place)
        found = found if given is None else join(found, given.tensor)
    return Value(found)


def _matrix_product(call: Call) -> Value:
    other = call.inputs[1]
    if other is None:
        raise UnsupportedError("an input of it is left out")
    return Value(tf.matmul(call.first.plain, other.plain))


def _gemm(call: Call) -> Value:
    a, b, c = call.first.plain, call.inputs[1], call.input(2)
    if b is None:
        raise UnsupportedError("an input of it is left out")
    alpha, beta = (np.float32(call.options.get(name, 1.0)) for name in ("alpha", "beta"))
    turn = {"transpose_a": bool(call.options.get("transA", 0))}
    found = tf.matmul(a, b.tensor, **turn, transpose_b=bool(call.options.get("transB", 0)))
    found = found if alpha == 1 else found * alpha
    if c is None:
        return Value(found)
    return Value(found + (c.tensor if beta == 1 else c.tensor * beta))


def _softmax(call: Call) -> Value:
    return Value(tf.nn.softmax(call.first.plain, axis=call.options.get("axis", -1)))


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


def _where(call: Call) -> Value:
    condition, yes, no = (None if value is None else value.plain for value in call.inputs)
    return Value(tf.where(condition, yes, no))


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


def _einsum(call: Call) -> Value:
    equation = call.options["equation"].decode()
    return Value(tf.einsum(equation, *(value.plain for value in call.inputs if value is not None)))


#: The translation of each operation, by its name in ONNX.
OPERATIONS: dict[str, Callable[[Call], Value | list[Value]]] = {
    "Abs": _pointwise(tf.abs),
    "Add": _joined(tf.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Conv": _convolution,
    "Div": _joined(lambda a, b: a // b if a.dtype.is_integer else a / b),
    "Dropout": _pointwise(tf.identity),
    "Einsum": _einsum,
    "Elu": _pointwise(tf.nn.elu),
    "Equal": _joined(tf.equal),
    "Erf": _pointwise(tf.math.erf),
    "Exp": _pointwise(tf.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": _pointwise(_gelu, "approximate"),
    "Gemm": _gemm,
    "GlobalAveragePool": _global(tf.reduce_mean),
    "GlobalMaxPool": _global(tf.reduce_max),
    "HardSigmoid": _pointwise(_hard_sigmoid, "alpha", "beta"),
    "HardSwish": _pointwise(_hard_swish),
    "Identity": _pointwise(tf.identity),
    "LayerNormalization": _layer_normalization,
    "LeakyRelu": _pointwise(lambda x, alpha=0.01: tf.nn.leaky_relu(x, alpha), "alpha"),
    "MatMul": _matrix_product,
    "Max": _joined(tf.maximum),
    "MaxPool": _max_pool,
    "Min": _joined(tf.minimum),
    "Mul": _joined(tf.multiply),
    "Neg": _pointwise(tf.negative),
    "Pad": _pad,
    "Pow": _joined(tf.pow),
    "Reciprocal": _pointwise(tf.math.reciprocal),
    "ReduceL2": _reduced(_root_of_squares),
    "ReduceMax": _reduced(tf.reduce_max),
    "ReduceMean": _reduced(tf.reduce_mean),
    "ReduceSum": _reduced(tf.reduce_sum),
    "Relu": _pointwise(tf.nn.relu),
    "Reshape": _reshape,
    "Shape": _shape,
    "Sigmoid": _pointwise(tf.sigmoid),
    "Slice": _slice,
    "Softmax": _softmax,
    "Softplus": _pointwise(tf.math.softplus),
    "Split": _split,
    "Sqrt": _pointwise(tf.sqrt),
    "Squeeze": _squeeze,
    "Sub": _joined(tf.subtract),
    "Sum": _joined(tf.add),
    "Tanh": _pointwise(tf.tanh),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
