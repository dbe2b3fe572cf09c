"""An ONNX file of a classifier whose bytes depend on the model alone.

It is converted from a frozen graph, because Keras' own export leaves inputs of EfficientNet
dangling. tf2onnx numbers names by what its process did before, so all are renamed. TensorFlow is
imported for writing only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstart._utils.files import write_bytes
from headstart.export.parity import Reading
from headstart.keras.networks.engine import freeze, in_batches

if TYPE_CHECKING:
    from headstart.keras.export.reload import Source

#: What the exporter and ONNX Runtime both know well; 18 is the first with antialiasing resize.
OPSET = 18
INPUT, OUTPUT = "pixels", "probabilities"
_AT_ONCE = 32
#: Instead of zero, where a maximum follows: too small to change a result (:func:`_keep_padding`).
_NEARLY_ZERO = np.float32(1e-18)


def write(source: Source, target: Path) -> None:
    """Write the format ``onnx``: ``pixels``, uint8 (n, size, size, 3), to ``probabilities``."""
    from headstart.keras.runtime import silence

    frozen = freeze(source.model, None)
    given, result = frozen.inputs[0].name, frozen.outputs[0].name
    with silence():
        from tf2onnx import convert

        found, _ = convert.from_graph_def(
            frozen.graph.as_graph_def(),
            input_names=[given],
            output_names=[result],
            opset=OPSET,
        )
    _express_erfc(found.graph)
    _keep_padding(found.graph)
    _canonical(found, given, result)
    write_bytes(target, found.SerializeToString(deterministic=True))


def read(path: Path, pixels: npt.NDArray[np.uint8], _contents: Sequence[bytes]) -> Reading:
    """Run an exported ONNX file on images."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    outputs = in_batches(lambda part: session.run(None, {INPUT: part})[0], pixels, _AT_ONCE)
    return Reading({"pixels": outputs})


def _express_erfc(graph: Any) -> None:
    """Express the complement of the error function, which ONNX lacks and Keras' GELU uses."""
    from onnx import helper, numpy_helper

    nodes: list[Any] = []
    for node in graph.node:
        if node.op_type != "Erfc":
            nodes.append(node)
            continue
        (given,), (result,) = node.input, node.output
        nodes.append(helper.make_node("Erf", [given], [f"{result}_erf"]))
        nodes.append(helper.make_node("Sub", ["one_less_erf", f"{result}_erf"], [result]))
    if len(nodes) > len(graph.node):
        del graph.node[:]
        graph.node.extend(nodes)
        graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), "one_less_erf"))


def _keep_padding(graph: Any) -> None:
    """Keep ONNX Runtime from joining a padding of zeros with the maximum that follows it.

    Its optimizer ``Pad_Fusion`` makes it the padding of MaxPool itself, which ignores what is
    padded instead of taking it for zero: ResNet50V2 gives other features then.
    """
    from onnx import numpy_helper

    feeds_maximum = {
        name for node in graph.node if node.op_type == "MaxPool" for name in node.input
    }
    value = numpy_helper.from_array(np.array(_NEARLY_ZERO), "nearly_zero")
    found = False
    for node in graph.node:
        if node.op_type == "Pad" and feeds_maximum.intersection(node.output):
            kept = list(node.input)[:2]
            del node.input[:]
            node.input.extend([*kept, value.name])
            found = True
    if found:
        graph.initializer.append(value)


def _canonical(model: Any, given: str, result: str) -> None:
    """Name and order everything by its position in the computation; drop the producer's name."""
    graph = model.graph
    names = {"": "", given: INPUT, result: OUTPUT}
    counts: Counter[str] = Counter()
    used: list[str] = []
    for node in graph.node:  # In the order of the computation: what is not known yet, is a weight.
        for name in node.input:
            if name not in names:
                names[name] = f"weight_{len(used)}"
                used.append(name)
        counts[node.op_type] += 1
        node.name = f"{node.op_type}_{counts[node.op_type]}"
        node.doc_string = ""
        for place, name in enumerate(node.output):
            names.setdefault(name, f"{node.name}_{place}" if place else node.name)
    for node in graph.node:
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    kept = {initializer.name: initializer for initializer in graph.initializer}
    weights = [kept[name] for name in used]
    for weight in weights:
        weight.name = names[weight.name]
    del graph.initializer[:]
    graph.initializer.extend(weights)
    for value in (*graph.input, *graph.output):
        value.name = names[value.name]
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    del graph.value_info[:]
    graph.name, graph.doc_string, model.doc_string = "classifier", "", ""
    used_domains = {node.domain or "" for node in graph.node}
    versions = sorted(
        (entry.domain, entry.version)
        for entry in model.opset_import
        if entry.domain in used_domains
    )
    del model.opset_import[:]
    for domain, version in versions:
        model.opset_import.add(domain=domain, version=version)
    del model.metadata_props[:]
