"""A SavedModel with two signatures, from encoded images and from pixels, in canonical bytes.

TensorFlow writes a random number beside the graph and the settings of the process into it; both are
removed. It also numbers names by all that the process made before: their numbers start at a fixed
one, so that the first SavedModel of a process depends on its model alone.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstart._utils.faults import reached
from headstart._utils.files import write_bytes
from headstart._utils.quiet import quiet_stderr
from headstart.export.parity import Reading
from headstart.keras.export.decoding import decode
from headstart.keras.networks.engine import in_batches
from headstart.keras.runtime import tf

if TYPE_CHECKING:
    from headstart.keras.export.reload import Source

_AT_ONCE = 32
#: Of the first name. To build NASNetLarge takes 13,600 of the numbers below it.
_FIRST_NUMBER = 100_000

Floats = npt.NDArray[np.float32]


def write(source: Source, folder: Path) -> None:
    """Write the format ``saved_model``; once in a process (see above).

    ``serving_default``: ``content``, a batch of encoded images (string, shape (n,)).
    ``pixels``: ``pixels``, uint8 of shape (n, size, size, 3). Both give ``label`` (string, (n,)),
    ``probability`` ((n,)), ``probabilities`` and ``classes`` (string) of shape (n, n_classes).
    """
    _number_alike()
    # The variables alone are tracked: of a function that is, TensorFlow would make a second trace.
    module = tf.Module(name="served")
    module.weights = [weight.value for weight in source.model.weights]
    signatures = _signatures(source)
    reached("member", folder)
    with quiet_stderr():
        tf.saved_model.save(module, str(folder), signatures=signatures)
    (folder / "fingerprint.pb").unlink(missing_ok=True)  # A random number; loading needs none.
    assets = folder / "assets"
    if assets.is_dir() and not any(assets.iterdir()):
        shutil.rmtree(assets)  # Git and DVC do not keep empty folders alike.
    _canonical(folder / "saved_model.pb")


def _number_alike() -> None:
    """Let TensorFlow number what comes from a fixed number on, by using up the smaller ones."""
    from tensorflow.python.framework import ops

    while ops.uid() < _FIRST_NUMBER:
        pass


def load_saved_model(folder: Path) -> Any:
    """Load a SavedModel with its two ``.signatures``."""
    with quiet_stderr():
        return tf.saved_model.load(str(folder))


def run_pixels(loaded: Any, pixels: npt.NDArray[np.uint8]) -> Floats:
    """Return the probabilities by the signature ``pixels``."""
    signature = loaded.signatures["pixels"]
    return in_batches(
        lambda part: signature(pixels=tf.constant(part))["probabilities"], pixels, _AT_ONCE
    )


def run_bytes(loaded: Any, contents: Sequence[bytes]) -> tuple[Floats, dict[int, str]]:
    """Return the probabilities by the signature ``serving_default``, and what it refused.

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
        except (
            tf.errors.InvalidArgumentError
        ):  # One bad image is enough for an error, which does not name it.
            for place, content in enumerate(part, start):
                try:
                    found[place] = run([content])[0]
                except tf.errors.InvalidArgumentError as error:
                    refused[place] = _reason(error.message)
    return found, refused


def read(path: Path, pixels: npt.NDArray[np.uint8], contents: Sequence[bytes]) -> Reading:
    """Run an exported SavedModel on images, as pixels and as files."""
    loaded = load_saved_model(path)
    encoded, refused = run_bytes(loaded, contents)
    return Reading({"pixels": run_pixels(loaded, pixels), "encoded": encoded}, refused)


def _reason(message: str) -> str:
    """Return TensorFlow's message, without the places in its graph."""
    asserted = re.search(r"assertion failed: \[(.*?)\]", message)
    if asserted:
        return asserted[1]
    lines = [line.strip() for line in re.sub(r"\{\{.*?\}\}", "", message).splitlines()]
    return next((line for line in lines if line and line != "[[]]"), "no reason was given")


def _signatures(source: Source) -> dict[str, Any]:
    """Trace the two signatures."""
    model, classes, bits = source.model, source.classes, source.gray16_bits
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
            lambda one: decode(one, size, bits),
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


def _canonical(path: Path) -> None:
    """Clear a graph's record of the machine that wrote it, and sort its maps."""
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
