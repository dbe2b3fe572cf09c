"""Writes a classifier in a form, canonically: the bytes depend on the model alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import HeadstartError
from headstart._utils.files import write_bytes
from headstart.export.formats import FORMATS, FormatName
from headstart.keras.export import litert
from headstart.keras.export import model as model_io
from headstart.keras.runtime import keras


class NotConvertibleError(HeadstartError):
    """A converter has no way to express this model."""


@dataclass(frozen=True)
class Source:
    """What is written.

    Attributes
    ----------
    model : keras.Model
        Pixels to probabilities (:func:`headstart.keras.export.model.classifier`).
    classes : tuple of str
    calibration : ndarray of shape (n, size, size, 3), uint8, or None
        Training images, which int8 needs.
    """

    model: keras.Model
    classes: tuple[str, ...]
    calibration: npt.NDArray[np.uint8] | None


def write(name: FormatName, source: Source, folder: Path) -> None:
    """Write one form into an export folder.

    ``saved_model`` comes first in a process: it holds names that count what was traced before.

    Raises
    ------
    NotConvertibleError
        If a converter fails.
    """
    target = folder / FORMATS[name].path
    if name == "saved_model":
        model_io.save_saved_model(source.model, source.classes, target)
    elif name == "keras":
        model_io.save_keras(source.model, target)
    elif name == "h5":
        model_io.save_h5(source.model, target)
    else:
        try:
            content = _CONVERTED[name](source)
        except Exception as error:
            # Converters raise what they like: ConverterError, ValueError, RuntimeError, KeyError …
            raise NotConvertibleError(
                f"This model cannot be converted to the format {name}: {_first_line(error)}"
            ) from error
        write_bytes(target, content)


def _int8(source: Source) -> bytes:
    if source.calibration is None:
        raise ValueError("int8 needs images to calibrate on")
    return litert.to_int8(source.model, source.calibration)


def _onnx(source: Source) -> bytes:
    from headstart.keras.export.onnx import to_onnx  # An extra, which may be absent.

    return to_onnx(source.model)


_CONVERTED: Mapping[FormatName, Callable[[Source], bytes]] = {
    "tflite_float32": lambda source: litert.to_float32(source.model),
    "tflite_float16": lambda source: litert.to_float16(source.model),
    "tflite_int8": _int8,
    "onnx": _onnx,
}


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    return (next(filter(None, lines), "") or type(error).__name__)[:300].rstrip(".") + "."
