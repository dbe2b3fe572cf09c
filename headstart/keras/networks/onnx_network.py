"""A network in ONNX's format as a Keras layer whose weights cannot be trained.

The file is read as data: its graph may hold the operations that are translated and no others, no
code, and no path of another file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from headstart._utils.errors import HeadstartError
from headstart._utils.extras import needs_extra
from headstart.keras.networks.onnx_operations import OPERATIONS
from headstart.keras.networks.onnx_values import Call, UnsupportedError, Value
from headstart.keras.runtime import keras, silence, tf

#: Since this version an operation means what it means today.
_OPSET = 13
_CURRENT_OPSET = 18
_MAX_NODES = 50_000
_OWN_DOMAINS = ("", "ai.onnx")


def read_onnx(path: Path) -> Any:
    """Read an ``.onnx`` file, and refuse what is no plain network.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    HeadstartError
        If the package is absent, or the file cannot be read, refers to other files, or holds
        operations that are not translated.
    """
    onnx = _package()
    try:
        model = onnx.load_model(str(path), load_external_data=False)
    except Exception as error:  # protobuf raises what it likes
        raise HeadstartError(f"{path.name} cannot be read as ONNX: {error}.") from error
    return _checked(model, path.name)


def read_tflite(path: Path) -> Any:
    """Read a ``.tflite`` file as ONNX, by tf2onnx.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    HeadstartError
        As for :func:`read_onnx`; or if the network is quantized.
    """
    _package()
    try:
        with silence():
            from tf2onnx import convert

            model, _ = convert.from_tflite(str(path), opset=_CURRENT_OPSET)
    except Exception as error:  # tf2onnx raises what it likes
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise HeadstartError(
            f"{path.name} cannot be read: {lines[0] if lines else type(error).__name__}. A network "
            "of float32 operations that are part of LiteRT is needed."
        ) from error
    return _checked(model, path.name)


def _package() -> Any:
    try:
        import onnx
        import onnxruntime  # noqa: F401 - the translation is compared with the original
        import tf2onnx  # noqa: F401
    except ImportError as error:
        raise HeadstartError(
            needs_extra("A backbone from an .onnx or .tflite file", "onnx", str(error.name))
        ) from error
    return onnx


def _checked(model: Any, name: str) -> Any:
    from onnx import TensorProto, version_converter

    versions = [each.version for each in model.opset_import if each.domain in _OWN_DOMAINS]
    if versions and versions[0] < _OPSET:
        try:
            model = version_converter.convert_version(model, _CURRENT_OPSET)
        except Exception as error:
            raise HeadstartError(
                f"{name} is of opset {versions[0]}, and cannot be converted to {_CURRENT_OPSET}: "
                f"{error}. Export it again with opset {_CURRENT_OPSET}."
            ) from error
    nodes = model.graph.node
    if any(each.data_location == TensorProto.EXTERNAL for each in _tensors(model.graph)):
        raise HeadstartError(
            f"{name} keeps weights in other files, which are never opened: a file could name any "
            "file of this machine. Save the network as one file "
            "(`onnx.save_model(model, path, save_as_external_data=False)`)."
        )
    if len(nodes) > _MAX_NODES:
        raise HeadstartError(f"{name} has {len(nodes):,} operations; no backbone needs them.")
    foreign = {
        f"{node.domain}.{node.op_type}" if node.domain not in _OWN_DOMAINS else node.op_type
        for node in nodes
        if node.domain not in _OWN_DOMAINS or node.op_type not in OPERATIONS
    }
    if foreign or len(model.functions):
        listed = ", ".join(sorted(foreign)[:8]) or "functions of its own"
        raise HeadstartError(
            f"{name} holds {listed}, which is not translated. Nothing was written. A SavedModel "
            "or a .keras file of the same network works without a translation."
        )
    return model


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)


class OnnxNetwork:
    """The interface of a network: one batch of images in, one chosen output.

    Attributes
    ----------
    input, output : str
        Their names in the graph.
    last : bool
        True if the images have their channels last.
    size : int
        Side of the images.
    """

    def __init__(self, model: Any, output: str | None, name: str) -> None:
        self.graph = model.graph
        weights = {each.name for each in self.graph.initializer}
        inputs = [each for each in self.graph.input if each.name not in weights]
        outputs = [each.name for each in self.graph.output]
        if len(inputs) != 1:
            raise HeadstartError(
                f"{name} takes {len(inputs)} inputs; one batch of images is needed."
            )
        if output is None and len(outputs) != 1:
            raise HeadstartError(
                f"{name} has the outputs {', '.join(outputs)}. Say which one holds the features "
                "(`headstart import-backbone PATH --output-name NAME`)."
            )
        if output is not None and output not in outputs:
            raise HeadstartError(f"{name} has no output {output!r}, but {', '.join(outputs)}.")
        self.input, self.output = inputs[0].name, output or outputs[0]
        kind = inputs[0].type.tensor_type
        sides = [each.dim_value if each.HasField("dim_value") else None for each in kind.shape.dim]
        float32 = kind.elem_type == 1
        self.last = len(sides) == 4 and sides[3] == 3 and sides[1] != 3
        height, width = (sides[1:3] if self.last else sides[2:]) if len(sides) == 4 else (0, 1)
        first = sides[0] if sides else 0
        if (
            not float32
            or len(sides) != 4
            or 3 not in {sides[1], sides[3]}
            or first not in {None, 1}
        ):
            raise HeadstartError(
                f"{name} takes {'float32' if float32 else 'numbers other than float32'} of shape "
                f"{_shown(sides)}; one image or any number of them, float32 of shape (n, 3, side, "
                "side) or (n, side, side, 3), is needed."
            )
        if not height or height != width:
            raise HeadstartError(
                f"{name} takes images of shape {_shown(sides)}; a fixed square size is needed. "
                "Export it for one size of images."
            )
        self.size = int(height)
        self.one = first == 1


def _shown(sides: list[int | None]) -> str:
    return f"({', '.join('?' if side is None else str(side) for side in sides)})"


class OnnxLayer(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """The operations of a graph as one layer: its weights with two or more axes are variables."""

    def __init__(self, network: OnnxNetwork, name: str) -> None:
        from onnx import numpy_helper

        super().__init__(name=name, trainable=False)
        self._network = network
        self._known: dict[str, Any] = {}
        for number, each in enumerate(network.graph.initializer):
            array = np.asarray(numpy_helper.to_array(each))
            if array.ndim > 1 and array.dtype == np.float32:
                variable = self.add_weight(
                    shape=array.shape, dtype="float32", trainable=False, name=f"weight_{number}"
                )
                variable.assign(array)
                self._known[each.name] = variable
            else:
                self._known[each.name] = array
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Return the chosen output for a batch of images, channels last."""
        values: dict[str, Value] = {
            name: Value(each if isinstance(each, np.ndarray) else tf.convert_to_tensor(each.value))
            for name, each in self._known.items()
        }
        network = self._network
        values[network.input] = Value(inputs, last=not network.last)
        for node in network.graph.node:
            values.update(zip(node.output, _run(node, values), strict=False))
            if network.output in values:
                break
        found = values[network.output]
        # A map comes with its channels last, whatever order the file has.
        return found.tensor if network.last or found.last else _channels_last(found.tensor)


def _channels_last(tensor: Any) -> Any:
    return tf.transpose(tensor, (0, 2, 3, 1)) if len(tensor.shape) == 4 else tensor


def _run(node: Any, values: dict[str, Value]) -> list[Value]:
    from onnx import helper

    options = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    call = Call(options, tuple(values[name] if name else None for name in node.input))
    if node.op_type == "Split" and not len(node.input) > 1:
        options.setdefault("num_outputs", len(node.output))
    try:
        if all(value is None or value.known for value in call.inputs):
            with tf.init_scope():  # Once, now: sizes and axes.
                found = OPERATIONS[node.op_type](call)
                listed = found if isinstance(found, list) else [found]
                return [Value(np.asarray(value.plain)) for value in listed]
        found = OPERATIONS[node.op_type](call)
    except UnsupportedError as error:
        raise HeadstartError(
            f"The operation {node.op_type} cannot be used here: {error}."
        ) from error
    return found if isinstance(found, list) else [found]
