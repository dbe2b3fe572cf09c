"""A trained model as one Keras model, and the files that leave the project: canonical ones.

Keras writes the time and memory addresses into a ``.keras`` file, TensorFlow a random number beside
a SavedModel: both are made canonical here, so that the md5 of an export speaks of the model alone.
A SavedModel also holds names that count what its process traced before: write it in a process that
does nothing else.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from headstart._utils.files import atomic_file, write_bytes
from headstart._utils.quiet import quiet_stderr
from headstart.backbones.record import BackboneRecord
from headstart.keras.export.inputs import decode
from headstart.keras.networks.backbone import feature_model, load_backbone
from headstart.keras.runtime import fresh_names, keras, tf
from headstart.keras.training.head import build_head, load_head

_EPOCH = (1980, 1, 1, 0, 0, 0)
_DATE = "1980-01-01@00:00:00"
_AT_ONCE = 32

Floats = npt.NDArray[np.float32]


def classifier(
    record: BackboneRecord,
    backbone_folder: Path,
    weights_folder: Path | None,
    head: Sequence[Mapping[str, Any]],
    head_weights: Mapping[str, Floats],
) -> keras.Model:
    """Pixels to probabilities, of standard layers alone (and the module, of a backbone that is
    one).

    Parameters
    ----------
    record : BackboneRecord
    backbone_folder : Path
    weights_folder : Path or None
        A fine-tuned model's folder; None: the backbone has its pretrained weights.
    head : sequence of dict
        Layers of the head.
    head_weights : mapping of str to ndarray

    Returns
    -------
    keras.Model
        (n, size, size, 3), 0 to 255, uint8 or float32 -> (n, n_classes), float32.
    """
    base = load_backbone(record, backbone_folder, weights_folder)
    with fresh_names():
        features = feature_model(
            base, record.cut, record.pooling, record.preprocessing, dtype="float32"
        )
        top = build_head(head, record.feature_shape)
        load_head(top, head_weights)
        return keras.Model(features.input, top(features.output), name="classifier")


def save_keras(model: keras.Model, target: Path) -> None:
    """Write a ``.keras`` file whose bytes depend on the model alone."""
    rough = target.with_name(f"rough-{target.name}")
    model.save(rough)
    try:
        _repack(rough, target)
    finally:
        rough.unlink()


def save_h5(model: keras.Model, target: Path) -> None:
    """Write the older HDF5 file of Keras, whose bytes depend on the model alone."""
    rough = target.with_name(f"rough-{target.name}")
    try:
        with _no_advice():
            model.save(rough)
        with h5py.File(rough, "r+") as file:
            file.attrs["model_config"] = _renumbered(str(file.attrs["model_config"]).encode())
        # Copied whole: what was replaced above would stay in the file as a gap.
        with h5py.File(rough, "r") as old, h5py.File(target, "w") as new:
            for name in old:
                old.copy(name, new)
            for name, value in old.attrs.items():
                new.attrs[name] = value
    finally:
        rough.unlink(missing_ok=True)


@contextlib.contextmanager
def _no_advice() -> Iterator[None]:
    """Keras advises against HDF5, in its log; whoever chose this form has decided."""
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def load_keras(path: Path) -> keras.Model:
    """Load a ``.keras`` or ``.h5`` file as a stranger would: safe mode, no code of ours."""
    return keras.saving.load_model(path, compile=False, safe_mode=True)


def run_keras(model: keras.Model, pixels: npt.NDArray[np.uint8]) -> Floats:
    """Probabilities of images of shape (n, size, size, 3)."""
    # One graph for any number of images: layer by layer, Keras takes four times as long.
    shape = tf.TensorSpec((None, *pixels.shape[1:]), tf.uint8)
    graph = tf.function(
        lambda batch: model(tf.cast(batch, tf.float32), training=False),
        input_signature=[shape],
        autograph=False,
    )
    parts = [
        graph(tf.constant(pixels[start : start + _AT_ONCE])).numpy().astype(np.float32)
        for start in range(0, len(pixels), _AT_ONCE)
    ]
    return np.concatenate(parts)


def save_saved_model(model: keras.Model, classes: Sequence[str], folder: Path) -> None:
    """Write a SavedModel with two signatures, whose bytes depend on the model alone.

    ``serving_default``: ``content``, a batch of encoded images (string, shape (n,)).
    ``pixels``: ``pixels``, uint8 of shape (n, size, size, 3). Both give ``label`` (string, (n,)),
    ``probability`` ((n,)), ``probabilities`` and ``classes`` (string) of shape (n, n_classes).
    """
    # The variables alone are tracked: of a function that is, TensorFlow would make a second trace.
    module = tf.Module(name="served")
    module.weights = [weight.value for weight in model.weights]
    signatures = _signatures(model, classes)
    with quiet_stderr():
        tf.saved_model.save(module, str(folder), signatures=signatures)
    (folder / "fingerprint.pb").unlink(missing_ok=True)  # A random number; loading needs none.
    assets = folder / "assets"
    if assets.is_dir() and not any(assets.iterdir()):
        shutil.rmtree(assets)  # Git and DVC do not keep empty folders alike.
    _canonical(folder / "saved_model.pb")


def load_saved_model(folder: Path) -> Any:
    """Load a SavedModel; ``.signatures`` has both ways in."""
    with quiet_stderr():
        return tf.saved_model.load(str(folder))


def run_pixels(loaded: Any, pixels: npt.NDArray[np.uint8]) -> Floats:
    """Probabilities by the signature ``pixels``."""
    signature = loaded.signatures["pixels"]
    parts = [
        signature(pixels=tf.constant(pixels[start : start + _AT_ONCE]))["probabilities"].numpy()
        for start in range(0, len(pixels), _AT_ONCE)
    ]
    return np.concatenate(parts)


def run_bytes(loaded: Any, contents: Sequence[bytes]) -> tuple[Floats, dict[int, str]]:
    """Probabilities by the signature ``serving_default``, and what it refused.

    Returns
    -------
    probabilities : ndarray of shape (n, n_classes), float32
        NaN where an image was refused.
    refused : dict of int to str
        Position of an image that was refused, and why.
    """
    signature = loaded.signatures["serving_default"]

    def run(part: Sequence[bytes]) -> Floats:
        answer = signature(content=tf.constant(list(part)))["probabilities"]
        return np.asarray(answer.numpy(), np.float32)

    classes = signature.structured_outputs["probabilities"].shape[1]
    found = np.full((len(contents), classes), np.nan, np.float32)
    refused: dict[int, str] = {}
    for start in range(0, len(contents), _AT_ONCE):
        part = contents[start : start + _AT_ONCE]
        try:
            found[start : start + len(part)] = run(part)
        except tf.errors.InvalidArgumentError:  # One image is enough, and it is not said which.
            for place, content in enumerate(part, start):
                try:
                    found[place] = run([content])[0]
                except tf.errors.InvalidArgumentError as error:
                    refused[place] = _reason(error.message)
    return found, refused


def _reason(message: str) -> str:
    """What TensorFlow says, without the places in its graph."""
    asserted = re.search(r"assertion failed: \[(.*?)\]", message)
    if asserted:
        return asserted[1]
    lines = [line.strip() for line in re.sub(r"\{\{.*?\}\}", "", message).splitlines()]
    return next((line for line in lines if line and line != "[[]]"), "no reason was given")


def _signatures(model: keras.Model, classes: Sequence[str]) -> dict[str, Any]:
    """The two ways in, traced."""
    size = model.input_shape[1]

    def answers(pixels: Any) -> dict[str, Any]:
        probabilities = model(tf.cast(pixels, tf.float32), training=False)
        names = tf.constant(list(classes))
        return {
            "label": tf.gather(names, tf.argmax(probabilities, axis=1)),
            "probability": tf.reduce_max(probabilities, axis=1),
            "probabilities": probabilities,
            # A row for each image: servers split every answer along its first axis.
            "classes": tf.repeat(names[None], tf.shape(probabilities)[0], axis=0),
        }

    shape = tf.TensorSpec((None, size, size, 3), tf.uint8, "pixels")
    from_pixels = tf.function(answers, autograph=False).get_concrete_function(shape)

    def from_bytes(content: Any) -> dict[str, Any]:
        pixels = tf.map_fn(
            lambda one: decode(one, size),
            content,
            fn_output_signature=tf.TensorSpec((size, size, 3), tf.uint8),
        )
        # The traced one: the network stands in the file once.
        found: dict[str, Any] = from_pixels(pixels)
        return found

    strings = tf.TensorSpec((None,), tf.string, "content")
    return {
        "serving_default": tf.function(from_bytes, autograph=False).get_concrete_function(strings),
        "pixels": from_pixels,
    }


def _repack(source: Path, target: Path) -> None:
    with zipfile.ZipFile(source) as old, atomic_file(target) as file:
        contents = {name: old.read(name) for name in old.namelist()}
        contents["config.json"] = _renumbered(contents["config.json"])
        metadata = {**json.loads(contents["metadata.json"]), "date_saved": _DATE}
        contents["metadata.json"] = json.dumps(metadata, sort_keys=True).encode()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as new:
            for name in sorted(contents):
                member = zipfile.ZipInfo(name, date_time=_EPOCH)
                member.create_system = 3  # Unix, wherever it is written.
                member.external_attr = 0o644 << 16
                new.writestr(member, contents[name])


def _renumbered(config: bytes) -> bytes:
    """The configuration with shared objects numbered in order of appearance, not by address."""
    numbers: dict[int, int] = {}

    def walk(value: Any) -> Any:
        if isinstance(value, list):
            return [walk(item) for item in value]
        if not isinstance(value, dict):
            return value
        return {
            key: numbers.setdefault(item, len(numbers)) if key == "shared_object_id" else walk(item)
            for key, item in value.items()
        }

    return json.dumps(walk(json.loads(config))).encode()


def _canonical(path: Path) -> None:
    """Clear what a graph says of the machine that wrote it, and fix the order of maps."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for graph in saved.meta_graphs:
        functions = graph.graph_def.library.function
        nodes = [*graph.graph_def.node, *(node for each in functions for node in each.node_def)]
        for node in nodes:
            if "config_proto" in node.attr:  # Devices and threads of this process.
                node.attr["config_proto"].s = b""
        functions.sort(key=lambda function: function.signature.name)
    write_bytes(path, saved.SerializeToString(deterministic=True))
