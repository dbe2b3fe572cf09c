"""The formats that an exported model can take: one table for parameters, files and pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FormatName = Literal[
    "saved_model", "keras", "h5", "tflite_float32", "tflite_float16", "tflite_int8", "onnx"
]
#: Export formats that classify here, in order of preference: float32 before rounded weights.
RunnableFormat = Literal["tflite_float32", "saved_model", "tflite_float16", "tflite_int8"]
#: Export formats with layers that can be told apart, in order of preference.
LayeredFormat = Literal["keras", "h5"]
Precision = Literal["float32", "float16", "int8"]


@dataclass(frozen=True)
class ExportFormat:
    """One form.

    Attributes
    ----------
    path : str
        File or folder below the export folder.
    title : str
        For people.
    precision : "float32" | "float16" | "int8"
        Of its numbers; decides how closely it must agree with the evaluated model.
    library : "tensorflow" | "keras" | "litert" | "onnxruntime"
        What runs it.
    inputs : tuple of str
        ``pixels``: uint8 RGB of shape (n, size, size, 3). ``encoded``: the bytes of files.
    batch : "any" | "one"
        How many images a call takes.
    extra : str or None
        The extra of the package that writes it.
    """

    path: str
    title: str
    precision: Precision
    library: Literal["tensorflow", "keras", "litert", "onnxruntime"]
    inputs: tuple[Literal["pixels", "encoded"], ...] = ("pixels",)
    batch: Literal["any", "one"] = "any"
    extra: str | None = None


FORMATS: dict[FormatName, ExportFormat] = {
    "saved_model": ExportFormat(
        "saved_model", "SavedModel", "float32", "tensorflow", inputs=("encoded", "pixels")
    ),
    "keras": ExportFormat("model.keras", "Keras file", "float32", "keras"),
    "h5": ExportFormat("model.h5", "HDF5 file of Keras", "float32", "keras"),
    "tflite_float32": ExportFormat(
        "model_float32.tflite", "LiteRT, float32", "float32", "litert", batch="one"
    ),
    "tflite_float16": ExportFormat(
        "model_float16.tflite", "LiteRT, float16 weights", "float16", "litert", batch="one"
    ),
    "tflite_int8": ExportFormat("model_int8.tflite", "LiteRT, int8", "int8", "litert", batch="one"),
    "onnx": ExportFormat("model.onnx", "ONNX", "float32", "onnxruntime", extra="onnx"),
}
