"""TensorFlow Serving's REST API for the exported SavedModel: requests and answers.

https://www.tensorflow.org/tfx/serving/api_rest describes it. The signatures are the SavedModel's:
``serving_default`` takes encoded images (``{"b64": …}``), ``pixels`` uint8 arrays.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.serving.requests import RefusedError, too_many
from headstart.serving.results import shortest

ENCODED, PIXELS = "serving_default", "pixels"
#: The input of each signature.
INPUTS = {ENCODED: "content", PIXELS: "pixels"}
VERSION = "1"

Floats = npt.NDArray[np.float32]
Item = bytes | npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Asked:
    """A parsed request.

    Attributes
    ----------
    items : list of bytes or of ndarray of shape (size, size, 3), uint8
    columnar : bool
        Answer with ``outputs`` instead of ``predictions``.
    """

    items: list[Item]
    columnar: bool


def understand(body: bytes, size: int, max_images: int) -> Asked:
    """Return the images of a request.

    Raises
    ------
    RefusedError
        400 with what was expected; 413 if there are too many.
    """
    # Lists and objects take many times their size in memory: accept no more than images can have.
    most = max_images * (size * size + size + 8) + 8
    if body.count(b"[") + body.count(b"{") > most:
        raise RefusedError(
            413,
            f"The request has more lists and objects than {max_images} images can have "
            "(--max-images).",
        )
    document = _parsed(body)
    signature = document.get("signature_name") or ENCODED
    if not isinstance(signature, str) or signature not in INPUTS:
        raise _wrong(
            f"there is no signature {str(signature)[:100]!r}; there are {ENCODED!r} and {PIXELS!r}"
        )
    columnar = "inputs" in document
    if columnar == ("instances" in document):
        raise _wrong("expected one of `instances` (rows) and `inputs` (columns)")
    name = INPUTS[signature]
    values = document["inputs"] if columnar else document["instances"]
    if columnar and isinstance(values, dict) and set(values) == {name}:
        values = values[name]
    if not isinstance(values, list) or not values:
        raise _wrong("expected a list of at least one image")
    if len(values) > max_images:
        raise too_many(str(len(values)), max_images)
    if not columnar:
        values = [
            value[name] if isinstance(value, dict) and set(value) == {name} else value
            for value in values
        ]
    read = _encoded if signature == ENCODED else _array
    return Asked([read(value, place, size) for place, value in enumerate(values)], columnar)


def answered(rows: Sequence[Floats], classes: Sequence[str], *, columnar: bool) -> dict[str, Any]:
    """Return the answer for rows of probabilities: the four outputs of the SavedModel."""
    predictions = [_outputs(row, classes) for row in rows]
    if not columnar:
        return {"predictions": predictions}
    return {
        "outputs": {
            name: [prediction[name] for prediction in predictions] for name in predictions[0]
        }
    }


def status() -> dict[str, Any]:
    """Return the answer of ``GET /v1/models/NAME``."""
    fine = {"error_code": "OK", "error_message": ""}
    return {"model_version_status": [{"version": VERSION, "state": "AVAILABLE", "status": fine}]}


def metadata(name: str, size: int, classes: int) -> dict[str, Any]:
    """Return the answer of ``GET /v1/models/NAME/metadata``."""
    outputs = {
        "label": _tensor("label", "DT_STRING", -1),
        "probability": _tensor("probability", "DT_FLOAT", -1),
        "probabilities": _tensor("probabilities", "DT_FLOAT", -1, classes),
        "classes": _tensor("classes", "DT_STRING", -1, classes),
    }
    inputs = {
        ENCODED: {"content": _tensor("content", "DT_STRING", -1)},
        PIXELS: {"pixels": _tensor("pixels", "DT_UINT8", -1, size, size, 3)},
    }
    signatures = {
        signature: {
            "inputs": taken,
            "outputs": outputs,
            "method_name": "tensorflow/serving/predict",
            "defaults": {},
        }
        for signature, taken in inputs.items()
    }
    return {
        "model_spec": {"name": name, "signature_name": "", "version": VERSION},
        "metadata": {"signature_def": {"signature_def": signatures}},
    }


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _wrong(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise _wrong("expected a JSON object")
    return document


def _encoded(value: Any, place: int, size: int) -> bytes:  # noqa: ARG001 - as _array
    if not isinstance(value, dict) or set(value) != {"b64"} or not isinstance(value["b64"], str):
        raise _wrong(
            f'image {place}: expected {{"b64": "…"}}, the bytes of a file in base64; for arrays '
            f'of pixels, set "signature_name": "{PIXELS}"'
        )
    try:
        # As TensorFlow Serving takes it: white space anywhere, and padding that may be missing.
        text = b"".join(value["b64"].encode("ascii").split())
        if not text.endswith(b"="):
            text += b"=" * (-len(text) % 4)
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _wrong(f"image {place}: {error}") from None


def _array(value: Any, place: int, size: int) -> npt.NDArray[np.uint8]:
    # By hand: NumPy would allocate the longest of a million strings a million times.
    rows = [value] if _has(value, size) else []
    pixels = [pixel for row in rows for line in row if _has(line, size) for pixel in line]
    numbers = [number for pixel in pixels if _has(pixel, 3) for number in pixel]
    if len(numbers) != size * size * 3:
        raise _wrong(f"image {place}: expected integers of shape ({size}, {size}, 3)")
    if any(type(number) is not int or not 0 <= number <= 255 for number in numbers):
        raise _wrong(f"image {place}: expected integers from 0 to 255")
    return np.array(numbers, np.uint8).reshape(size, size, 3)


def _has(value: Any, length: int) -> bool:
    return isinstance(value, list) and len(value) == length


def _outputs(row: Floats, classes: Sequence[str]) -> dict[str, Any]:
    best = int(row.argmax())
    return {
        "label": classes[best],
        "probability": shortest(row[best]),
        "probabilities": [shortest(value) for value in row],
        "classes": list(classes),
    }


def _tensor(name: str, dtype: str, *sizes: int) -> dict[str, Any]:
    shape = [{"size": str(size), "name": ""} for size in sizes]
    return {
        "name": name,
        "dtype": dtype,
        "tensor_shape": {"dim": shape, "unknown_rank": False},
    }


def _wrong(message: str) -> RefusedError:
    return RefusedError(400, f"The request is invalid: {message}.")
