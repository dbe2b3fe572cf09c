"""A backbone from a file: copied with its record, built as a Keras model, and compared.

A ``.keras`` file gives its layers, a SavedModel one layer over its variables, and ``.onnx`` and
``.tflite`` files one layer of translated operations, accepted only if it agrees with the original
on real images.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from headstart._utils.errors import HeadstartError
from headstart._utils.files import sha256_bytes, write_bytes
from headstart.backbones.network_record import (
    KIND_NAMES,
    TRANSLATED,
    Kind,
    NetworkRecord,
    check_files,
    check_sha256,
    kind_of,
    read_network_record,
)
from headstart.backbones.registry import FILE
from headstart.keras.networks import conversion
from headstart.keras.runtime import fresh_names, keras

#: The record's name in the backbone folder.
RECORD = "record.json"
#: The layer of a network whose own layers are not visible.
LAYER = "network"


def copy_network(path: Path, sha256: str | None, target: Path) -> NetworkRecord:
    """Copy a record and its network into a new folder.

    Parameters
    ----------
    path : Path
        Of the record.
    sha256 : str or None
        Of the record.
    target : Path
        Does not exist yet.

    Raises
    ------
    HeadstartError
        If the record, or the network that it names, is another one than expected.
    """
    record, network = read_network_record(path)
    content = path.read_bytes()
    found = sha256_bytes(content)
    if sha256 is not None and found != sha256:
        raise HeadstartError(
            f"The record {path} was changed while it was read: expected sha256 {sha256}, got "
            f"{found}. Nothing was written. Run the stage again."
        )
    target.mkdir(parents=True)
    write_bytes(target / RECORD, content)
    copied = target / record.file
    if network.is_dir():
        shutil.copytree(network, copied, symlinks=True)
    else:
        shutil.copyfile(network, copied, follow_symlinks=False)
    check_files(copied)
    check_sha256(record, copied)  # of the copy: what is loaded is what was checked
    return record


def read_copy(folder: Path) -> tuple[NetworkRecord, Path]:
    """Return the record in a folder of :func:`copy_network`, and the path of its network."""
    return read_network_record(folder / RECORD)


@dataclass(frozen=True)
class Opened:
    """A network that was read and checked.

    Attributes
    ----------
    call : callable
        From scaled images, a keras tensor of shape (n, size, size, 3), to its output.
    size : int or None
        Side of the images that it takes; None if it takes any.
    """

    call: Callable[[Any], Any]
    size: int | None


def open_network(network: Path, output: str | None = None) -> Opened:
    """Read a network, and refuse what is none or holds code.

    Parameters
    ----------
    network : Path
    output : str or None
        The output to use, where an ``.onnx`` or ``.tflite`` file has several.

    Raises
    ------
    HeadstartError
        With the reason.
    """
    try:
        return _OPENERS[kind_of(network.name)](network, output)
    except HeadstartError as error:
        raise HeadstartError(f"The network {network.name} cannot be used. {error}") from error


def build_network(record: NetworkRecord, opened: Opened) -> keras.Model:
    """Build a backbone from a network.

    Returns
    -------
    keras.Model
        From pixels of 0 to 255, red, green, blue, float32 (n, size, size, 3), to a vector or a map.

    Raises
    ------
    HeadstartError
        If it is no network for images of the recorded size, or needs what is refused.
    """
    if opened.size not in {None, record.image_size}:
        raise HeadstartError(
            f"The network {record.file} takes images of {opened.size} × {opened.size}, and its "
            f"record says {record.image_size}. Nothing was written."
        )
    with fresh_names():
        pixels = keras.Input((record.image_size, record.image_size, 3), name="images")
        try:
            features = opened.call(_scaled(pixels, record))
        except HeadstartError as error:
            raise HeadstartError(f"The network {record.file} cannot be used. {error}") from error
        except Exception as error:  # TensorFlow and Keras raise what they like
            reason = " ".join(str(error).split())[:400]
            raise HeadstartError(
                f"The network {record.file} does not take images of {record.image_size} × "
                f"{record.image_size}: {reason}"
            ) from error
        return keras.Model(pixels, _features(features, record), name=FILE)


def verify(model: keras.Model, record: NetworkRecord, network: Path) -> float | None:
    """Compare a translated network with the original on real images.

    Returns
    -------
    float or None
        The largest difference, in standard deviations of a feature; None if nothing was translated.

    Raises
    ------
    HeadstartError
        If they differ.
    """
    found = tuple(model.output_shape[1:])
    if found != record.feature_shape:
        raise HeadstartError(
            f"The network {record.file} gives features of shape {found}, and its record says "
            f"{record.feature_shape}. Nothing was written. `headstart import-backbone` writes the "
            "record anew."
        )
    if record.kind not in TRANSLATED:
        return None
    from headstart.keras.networks.originals import run_original

    batch = conversion.images(record.image_size)
    scaled = keras.Model(model.input, model.get_layer(LAYER).input)
    given = np.asarray(scaled(batch.astype(np.float32)), np.float32)
    inner = keras.Model(model.get_layer(LAYER).input, model.get_layer(LAYER).output)
    difference = conversion.difference_in_std(
        run_original(record, network, given), conversion.run_keras(inner, given)
    )
    if not difference <= conversion.UNPOOLED_TOLERANCE:
        raise HeadstartError(
            f"The translation of {record.file} is not the original: on {len(batch)} real images a "
            f"feature differs by {difference:.3g} of its standard deviation; "
            f"{conversion.UNPOOLED_TOLERANCE:g} is accepted. Nothing was written. A SavedModel or "
            "a .keras file of the same network works without a translation."
        )
    return difference


def _scaled(pixels: Any, record: NetworkRecord) -> Any:
    from headstart.keras.networks.backbone import blue_first

    if record.color_order == "bgr":
        pixels = blue_first(pixels)
    scale, offset = list(record.scale), list(record.offset)
    return keras.layers.Rescaling(scale, offset=offset, name="scaling")(pixels)


def _features(features: Any, record: NetworkRecord) -> Any:
    """Return a vector or a map, after checking the network's output against its record."""
    shape = tuple(getattr(features, "shape", ()))
    fixed = all(side is not None for side in shape[1:])
    if record.tokens is not None and len(shape) == 3 and fixed:
        if record.tokens == "first":
            token = keras.layers.Cropping1D((0, shape[1] - 1), name="class_token")(features)
            return keras.layers.Flatten(name="class_vector")(token)
        return keras.layers.GlobalAveragePooling1D(name="mean_token")(features)
    if record.tokens is None and len(shape) in {2, 4} and fixed:
        return features
    hint = (
        "With `tokens`, `first` takes the class token and `mean` the average of all "
        "(`headstart import-backbone PATH --tokens first`)."
        if len(shape) == 3
        else "`tokens` in its record must be null."
        if record.tokens is not None
        else "Export it without its last layers."
    )
    raise HeadstartError(
        f"The network {record.file} gives {shape or type(features).__name__}; a vector, or a map "
        f"of known size, is needed. {hint}"
    )


def _open_keras(network: Path, _output: str | None) -> Opened:
    from headstart.keras.networks.keras_archive import load_keras_file

    model = load_keras_file(network)
    shape = model.input_shape
    if len(shape) != 4 or shape[3] != 3 or shape[1] != shape[2]:
        raise HeadstartError(f"It takes arrays of shape {shape}; (None, side, side, 3) is needed.")
    return Opened(partial(_run_copies, model), shape[1])


def _run_copies(model: keras.Model, tensor: Any) -> Any:
    """Run copies of a model's layers on another input: they are in its graph, and in no other."""
    graph, copies = getattr(model, "_functional", model), {}

    def copy(operation: Any) -> Any:
        if id(operation) not in copies:
            made = type(operation).from_config(operation.get_config())
            copies[id(operation)] = operation, made
        return copies[id(operation)][1]

    found = graph._run_through_graph([tensor], operation_fn=copy)  # noqa: SLF001 - no public way
    for operation, made in copies.values():
        if getattr(operation, "weights", None):
            made.set_weights(operation.get_weights())
        if isinstance(made, keras.layers.Normalization):
            made.finalize_state()
    return found


def _open_saved_model(network: Path, _output: str | None) -> Opened:
    from headstart.keras.networks.hub_layer import HubLayer
    from headstart.keras.networks.hub_module import load_interface

    interface = load_interface(network)
    return Opened(HubLayer(interface, LAYER), interface.size)


def _open_onnx(network: Path, output: str | None) -> Opened:
    from headstart.keras.networks.onnx_network import OnnxLayer, OnnxNetwork, read_onnx

    found = OnnxNetwork(read_onnx(network), output, network.name)
    return Opened(OnnxLayer(found, LAYER), found.size)


def _open_tflite(network: Path, output: str | None) -> Opened:
    from headstart.keras.networks.onnx_network import OnnxLayer, OnnxNetwork, read_tflite

    found = OnnxNetwork(read_tflite(network), output, network.name)
    return Opened(OnnxLayer(found, LAYER), found.size)


_OPENERS: dict[Kind, Callable[[Path, str | None], Opened]] = {
    "keras": _open_keras,
    "onnx": _open_onnx,
    "saved_model": _open_saved_model,
    "tflite": _open_tflite,
}


def origin(record: NetworkRecord) -> str:
    """Return where a network comes from, for people; without any path of this machine."""
    named = "" if record.name == Path(record.file).stem else f" ({record.name})"
    trained = "; random weights: it was never trained" if record.random_weights else ""
    return (
        f"the {KIND_NAMES[record.kind]} {record.file}{named}, sha256 {record.sha256}, "
        f"from {record.source}{trained}"
    )
