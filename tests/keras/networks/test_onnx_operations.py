"""Each translated operation against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from headstart._utils.errors import HeadstartError
from headstart.keras.networks.onnx_network import OnnxLayer, OnnxNetwork
from headstart.keras.networks.onnx_operations import OPERATIONS
from headstart.keras.runtime import tf

RNG = np.random.default_rng(9)
IMAGES = RNG.normal(0, 1, (2, 3, 6, 6)).astype(np.float32)


def floats(*shape: int) -> Any:
    return RNG.normal(0, 1, shape).astype(np.float32)


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


@dataclass(frozen=True)
class Case:
    """An operation on the images, on `positive` (their absolute values) or on `rows` (2, 9, 12)."""

    name: str
    constants: Sequence[Any] = ()
    options: dict[str, Any] = field(default_factory=dict)
    on: str = "images"
    outputs: int = 1


CASES = [
    *(Case(name) for name in (
        "Abs", "Elu", "Erf", "Exp", "Flatten", "Gelu", "GlobalAveragePool", "GlobalMaxPool",
        "HardSigmoid", "HardSwish", "Identity", "Neg", "Relu", "Sigmoid", "Softmax", "Softplus",
        "Tanh", "Dropout", "LeakyRelu", "Reciprocal",
    )),
    Case("Sqrt", on="positive"),
    Case("Gelu", options={"approximate": "tanh"}),
    Case("LeakyRelu", options={"alpha": 0.3}),
    Case("HardSigmoid", options={"alpha": 1 / 6, "beta": 0.5}),
    Case("Cast", options={"to": TensorProto.FLOAT}),
    Case("Clip", [np.float32(0), np.float32(6)]),
    Case("Clip", [np.float32(-0.5), np.float32(0.5)]),
    *(Case(name, [floats(3, 1, 1)]) for name in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum")),
    *(Case(name, [floats(1)]) for name in ("Add", "Mul")),
    Case("Add", [floats(1, 3, 6, 6)]),
    Case("Mul", [floats(9, 12)], on="rows"),
    Case("Pow", [np.array([2], np.float32)]),
    Case("AveragePool", options={"kernel_shape": [2, 2], "strides": [2, 2]}),
    Case("AveragePool", options={
        "kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "count_include_pad": 1,
    }),
    Case("AveragePool", options={
        "kernel_shape": [3, 3], "strides": [1, 1], "pads": [1, 1, 1, 1],
    }),
    Case("MaxPool", options={"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    Case("MaxPool", options={"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    Case("BatchNormalization", [
        floats(3), floats(3), floats(3), np.abs(floats(3)) + np.float32(0.5),
    ]),
    Case("LayerNormalization", [floats(12), floats(12)], {"epsilon": 1e-3}, on="rows"),
    Case("Concat", [], {"axis": 1}),
    Case("Concat", [floats(1, 1, 12)], {"axis": 1}, on="rows"),
    *(Case("Conv", [floats(8, 3, 3, 3), floats(8)], options) for options in (
        {}, {"strides": [2, 2], "pads": [1, 1, 1, 1]}, {"pads": [1, 1, 1, 1], "dilations": [2, 2]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, {"pads": [0, 0, 1, 1], "strides": [2, 2]},
    )),
    Case("Conv", [floats(6, 1, 3, 3)], {"group": 3, "pads": [1, 1, 1, 1]}),
    Case("Einsum", [floats(12, 5)], {"equation": "abc,cd->abd"}, on="rows"),
    Case("Expand", [ints(1, 3, 6, 6)]),
    Case("Gather", [ints(2, 0, -1)], {"axis": 2}, on="rows"),
    Case("Gather", [ints(0).reshape(())], {"axis": 1}, on="rows"),
    Case("MatMul", [floats(12, 5)], on="rows"),
    Case("Pad", [ints(0, 0, 1, 2, 0, 0, 2, 1)]),
    Case("Pad", [ints(0, 0, 1, 2, 0, 0, 2, 1)], {"mode": "reflect"}),
    Case("Pad", [ints(0, 1, 0, 0, 0, 2), np.float32(3)], on="rows"),
    *(Case(name, [ints(2, 3)]) for name in ("ReduceMean", "ReduceMax", "ReduceL2", "ReduceSum")),
    Case("ReduceMean", [ints(2, 3)], {"keepdims": 0}),
    Case("ReduceMean", [ints(1)], {"keepdims": 0}),
    Case("ReduceSum", [ints(-1)], on="rows"),
    Case("Reshape", [ints(0, 3, -1)]),
    Case("Reshape", [ints(-1, 9, 12)]),
    Case("Softmax", options={"axis": 1}),
    Case("Slice", [ints(1), ints(4), ints(2)]),
    Case("Slice", [ints(-2), ints(np.iinfo(np.int64).max), ints(1)], on="rows"),
    Case("Slice", [ints(0), ints(12), ints(2), ints(3)], on="rows"),
    Case("Split", [ints(5, 7)], {"axis": 2}, on="rows", outputs=2),
    Case("Split", [], {"axis": 1, "num_outputs": 3}, on="rows", outputs=3),
    Case("Squeeze", [ints(2)], on="thin"),
    Case("Transpose", options={"perm": [0, 2, 3, 1]}),
    Case("Transpose", options={"perm": [0, 3, 1, 2]}),
    Case("Transpose", options={"perm": [0, 2, 1]}, on="rows"),
    Case("Unsqueeze", [ints(1, 3)], on="rows"),
]  # fmt: skip
#: Covered together below: they make the constants of real files.
TOGETHER = {"Constant", "ConstantOfShape", "Equal", "Gemm", "Shape", "Where"}


def model_of(nodes: Sequence[Any], arrays: dict[str, Any], output: str = "out") -> Any:
    shape = ["n", 3, 6, 6]
    graph = helper.make_graph(
        list(nodes),
        "case",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(each), name) for name, each in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 9
    return model


def check(model: Any, *, traced: bool = True) -> None:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    expected = session.run(None, {"images": IMAGES})[0]
    layer = OnnxLayer(OnnxNetwork(model, None, "case.onnx"), "network")
    last = np.ascontiguousarray(IMAGES.transpose(0, 2, 3, 1))
    function = layer.call
    if traced:  # As it is used: of any number of images.
        spec = tf.TensorSpec((None, 6, 6, 3), tf.float32)
        function = tf.function(layer.call, input_signature=[spec], autograph=False)
    found = np.asarray(function(tf.constant(last)))
    if found.ndim == 4:
        found = found.transpose(0, 3, 1, 2)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_gives_what_onnx_runtime_gives(case: Case) -> None:
    first = {
        "images": [],
        "positive": [helper.make_node("Abs", ["images"], ["positive"])],
        "rows": [helper.make_node("Reshape", ["images", "nine"], ["rows"])],
        "thin": [helper.make_node("ReduceMean", ["images", "two"], ["thin"])],
    }[case.on]
    arrays = {f"c{number}": each for number, each in enumerate(case.constants)}
    inputs = [case.on, *arrays]
    if case.name == "Concat" and not case.constants:
        inputs = ["images", "images"]
    outputs = ["out", *(f"o{number}" for number in range(1, case.outputs))]
    node = helper.make_node(case.name, inputs, outputs, **case.options)
    if case.name == "Concat" and case.constants:
        # One for all images, as a class token: ONNX Runtime wants it repeated.
        arrays["repeated"] = np.repeat(arrays.pop("c0"), 2, axis=0)
        node = helper.make_node("Concat", ["rows", "repeated"], ["out"], axis=1)
        check(model_of([*first, node], {**arrays, "nine": ints(0, 9, 12), "two": ints(2)}),
              traced=False)  # fmt: skip
        return
    used = {"nine": ints(0, 9, 12)} if case.on == "rows" else {}
    used = {"two": ints(2)} if case.on == "thin" else used
    check(model_of([*first, node], {**arrays, **used}))


def test_sizes_that_a_file_computes_are_known_beforehand() -> None:
    """As PyTorch writes `x.view(n, -1)`, `token.expand(n, -1, -1)` and a linear layer."""
    nodes = [
        helper.make_node("Shape", ["images"], ["sides"]),
        helper.make_node("Gather", ["sides", "zero"], ["count"]),
        helper.make_node("Unsqueeze", ["count", "first"], ["counts"]),
        helper.make_node("Constant", [], ["rest"], value=numpy_helper.from_array(ints(9, 12))),
        helper.make_node("Concat", ["counts", "rest"], ["wanted"], axis=0),
        helper.make_node("Reshape", ["images", "wanted"], ["rows"]),
        helper.make_node("Concat", ["counts", "minus", "minus"], ["wide"], axis=0),
        helper.make_node("ConstantOfShape", ["three"], ["ones"], value=helper.make_tensor(
            "v", TensorProto.INT64, [1], [1])),
        helper.make_node("Mul", ["ones", "minus"], ["negative"]),
        helper.make_node("Equal", ["wide", "negative"], ["same"]),
        helper.make_node("Where", ["same", "ones", "wide"], ["sizes"]),
        helper.make_node("Expand", ["token", "sizes"], ["tokens"]),
        helper.make_node("Concat", ["tokens", "rows"], ["all"], axis=1),
        helper.make_node("Gather", ["all", "zero"], ["class"], axis=1),
        helper.make_node("Flatten", ["all"], ["flat"]),
        helper.make_node(
            "Gemm", ["flat", "kernel", "bias"], ["out"], transB=1, alpha=0.5, beta=2.0
        ),
    ]  # fmt: skip
    arrays = {
        "zero": np.array(0, np.int64), "first": ints(0), "minus": ints(-1), "three": ints(3),
        "token": floats(1, 1, 12), "kernel": floats(4, 120), "bias": floats(4),
    }  # fmt: skip
    check(model_of(nodes, arrays))


def test_every_operation_is_tested() -> None:
    assert set(OPERATIONS) == {case.name for case in CASES} | TOGETHER


def test_grouped_convolutions() -> None:
    nodes = [
        helper.make_node("Concat", ["images", "images"], ["six"], axis=1),
        helper.make_node("Conv", ["six", "kernel"], ["out"], group=2),
    ]
    check(model_of(nodes, {"kernel": floats(4, 3, 3, 3)}))


@pytest.mark.parametrize(
    ("name", "constants", "options"),
    [
        ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
        ("Flatten", [], {"axis": 2}),
        ("Squeeze", [], {}),
        ("ConstantOfShape", [], {}),
    ],
)
def test_a_use_that_is_not_translated_is_named(
    name: str, constants: Sequence[Any], options: dict[str, Any]
) -> None:
    graph = [helper.make_node(name, ["images"], ["out"], **options)]
    model = helper.make_model(helper.make_graph(
        graph, "case",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 6, 6])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
    ))  # fmt: skip
    layer = OnnxLayer(OnnxNetwork(model, None, "case.onnx"), "network")
    with pytest.raises(HeadstartError, match=f"The operation {name} cannot be used here"):
        layer.call(tf.constant(IMAGES.transpose(0, 2, 3, 1)))
