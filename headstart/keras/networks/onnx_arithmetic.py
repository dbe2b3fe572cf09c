"""The operations of ONNX that compute numbers: one by one, in pairs, in sums, and in products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from headstart.keras.networks.onnx_values import Call, Translation, UnsupportedError, Value
from headstart.keras.runtime import tf


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


def _where(call: Call) -> Value:
    condition, yes, no = (None if value is None else value.plain for value in call.inputs)
    return Value(tf.where(condition, yes, no))


def _einsum(call: Call) -> Value:
    equation = call.options["equation"].decode()
    return Value(tf.einsum(equation, *(value.plain for value in call.inputs if value is not None)))


#: Their translations, by the name in ONNX.
ARITHMETIC: dict[str, Translation] = {
    "Abs": _pointwise(tf.abs),
    "Add": _joined(tf.add),
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Clip": _clip,
    "Div": _joined(lambda a, b: a // b if a.dtype.is_integer else a / b),
    "Dropout": _pointwise(tf.identity),
    "Einsum": _einsum,
    "Elu": _pointwise(tf.nn.elu),
    "Equal": _joined(tf.equal),
    "Erf": _pointwise(tf.math.erf),
    "Exp": _pointwise(tf.exp),
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
    "Min": _joined(tf.minimum),
    "Mul": _joined(tf.multiply),
    "Neg": _pointwise(tf.negative),
    "Pow": _joined(tf.pow),
    "Reciprocal": _pointwise(tf.math.reciprocal),
    "ReduceL2": _reduced(_root_of_squares),
    "ReduceMax": _reduced(tf.reduce_max),
    "ReduceMean": _reduced(tf.reduce_mean),
    "ReduceSum": _reduced(tf.reduce_sum),
    "Relu": _pointwise(tf.nn.relu),
    "Sigmoid": _pointwise(tf.sigmoid),
    "Softmax": _softmax,
    "Softplus": _pointwise(tf.math.softplus),
    "Sqrt": _pointwise(tf.sqrt),
    "Sub": _joined(tf.subtract),
    "Sum": _joined(tf.add),
    "Tanh": _pointwise(tf.tanh),
    "Where": _where,
}
