"""The formats in which a model is exported: one table for parameters, files, checks and pages.

To add a format, add its row, and a module of :mod:`headstart.keras.export` with the functions that
write and read it. A template ``LIBRARY.md.j2`` shows in the README how to run it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

#: Export formats that classify here, in order of preference: float32 before rounded weights.
RunnableFormat = Literal["tflite_float32", "saved_model", "tflite_float16", "tflite_int8"]
#: Export formats with layers that can be told apart, in order of preference.
LayeredFormat = Literal["keras", "h5"]
Precision = Literal["float32", "float16", "int8"]
Way = Literal["pixels", "encoded"]


@dataclass(frozen=True)
class ExportFormat:
    """One export format.

    Attributes
    ----------
    path : str
        File or folder below the export folder.
    title : str
        For people.
    library : "tensorflow" | "keras" | "litert" | "onnxruntime"
        The library that runs it; names the README's example (``templates/LIBRARY.md.j2``).
    writer, reader : str
        ``MODULE:FUNCTION`` below :mod:`headstart.keras.export`, with the signatures of
        :data:`headstart.keras.export.reload.Writer` and ``Reader``.
    precision : "float32" | "float16" | "int8"
        Of its numbers; decides how closely it must agree with the evaluated model.
    inputs : tuple of str
        ``pixels``: uint8 RGB of shape (n, size, size, 3). ``encoded``: the bytes of files.
    batch : "any" | "one"
        Number of images that a call takes.
    note : str
        Text for the README, in addition to that about the library.
    extra, packages : str or None, tuple of str
        The extra of headstart that it needs, and the packages of that extra.
    """

    path: str
    title: str
    library: Literal["tensorflow", "keras", "litert", "onnxruntime"]
    writer: str
    reader: str
    precision: Precision = "float32"
    inputs: tuple[Way, ...] = ("pixels",)
    batch: Literal["any", "one"] = "any"
    note: str = ""
    extra: str | None = None
    packages: tuple[str, ...] = ()

    @property
    def converted(self) -> bool:
        """True if a converter writes it, which may lack an operation of the network."""
        return self.library in {"litert", "onnxruntime"}

    def absent(self) -> list[str]:
        """Return the packages of its extra that are not installed."""
        return [package for package in self.packages if find_spec(package) is None]


FORMATS: dict[str, ExportFormat] = {
    "saved_model": ExportFormat(
        "saved_model", "SavedModel", "tensorflow", "saved_model:write", "saved_model:read",
        inputs=("encoded", "pixels"),
    ),
    "keras": ExportFormat(
        "model.keras", "Keras file", "keras", "keras_file:write_keras", "keras_file:read"
    ),
    "h5": ExportFormat(
        "model.h5", "HDF5 file of Keras", "keras", "keras_file:write_h5", "keras_file:read"
    ),
    "tflite_float32": ExportFormat(
        "model_float32.tflite", "LiteRT, float32", "litert", "litert:write_float32", "litert:read",
        batch="one",
    ),
    "tflite_float16": ExportFormat(
        "model_float16.tflite", "LiteRT, float16 weights", "litert",
        "litert:write_float16", "litert:read", precision="float16", batch="one",
        note="The weights are rounded to float16, which halves the file.",
    ),
    "tflite_int8": ExportFormat(
        "model_int8.tflite", "LiteRT, int8", "litert", "litert:write_int8", "litert:read",
        precision="int8", batch="one",
        note="Weights and activations are int8, calibrated on training images; the last operation "
        "is float32.",
    ),
    "onnx": ExportFormat(
        "model.onnx", "ONNX", "onnxruntime", "onnx:write", "onnx:read",
        extra="onnx", packages=("onnx", "onnxruntime", "tf2onnx"),
    ),
}  # fmt: skip

if TYPE_CHECKING:  # A type checker sees no table.
    FormatName = str
else:
    FormatName = Literal[tuple(FORMATS)]


def ordered(names: Iterable[str]) -> list[FormatName]:
    """Return format names in the order of the table."""
    given = set(names)
    return [name for name in FORMATS if name in given]
