"""Networks as their own runtimes run them, to compare translations with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import HeadstartError
from headstart._utils.quiet import quiet_stderr
from headstart.backbones.network_record import NetworkRecord

Floats = npt.NDArray[np.float32]


def run_original(record: NetworkRecord, network: Path, images: Floats) -> Floats:
    """Run an ``.onnx`` or ``.tflite`` file on images, one by one.

    Parameters
    ----------
    images : ndarray of shape (n, side, side, 3), float32
        As the network expects them, but channels last.

    Returns
    -------
    ndarray of shape (n, ...), float32
        Maps with their channels last.
    """
    try:
        return (
            _onnx(record, network, images)
            if record.kind == "onnx"
            else _lite(record.output, network, images)
        )
    except Exception as error:  # both runtimes raise what they like
        raise HeadstartError(
            f"The network {record.file} does not run: {' '.join(str(error).split())[:300]}"
        ) from error


def _onnx(record: NetworkRecord, network: Path, images: Floats) -> Floats:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # It warns of what it optimizes.
    session = onnxruntime.InferenceSession(
        str(network), options, providers=["CPUExecutionProvider"]
    )
    given = session.get_inputs()[0]
    first = given.shape[1] == 3  # channels
    outputs = [record.output or session.get_outputs()[0].name]
    found = []
    for image in images:
        batch = image.transpose(2, 0, 1)[None] if first else image[None]
        output = session.run(outputs, {given.name: np.ascontiguousarray(batch)})[0]
        found.append(output.transpose(0, 2, 3, 1) if first and output.ndim == 4 else output)
    return np.concatenate(found).astype(np.float32)


def _lite(wanted: str | None, network: Path, images: Floats) -> Floats:
    from ai_edge_litert.interpreter import Interpreter

    with quiet_stderr():
        interpreter = Interpreter(model_path=str(network))
        given = interpreter.get_input_details()[0]["index"]
        interpreter.resize_tensor_input(given, (1, *images.shape[1:]))
        interpreter.allocate_tensors()
    details = interpreter.get_output_details()
    output = next(each["index"] for each in details if wanted in {None, each["name"]})
    found = []
    for image in images:
        interpreter.set_tensor(given, image[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(output).copy())
    return np.concatenate(found).astype(np.float32)
