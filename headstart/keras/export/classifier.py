"""A trained model as one Keras model, and the part of it that computes features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import HeadstartError
from headstart.backbones.record import BackboneRecord
from headstart.keras.export.keras_file import load_keras
from headstart.keras.networks.backbone import feature_model, load_backbone, unknown_layer
from headstart.keras.networks.engine import Frozen
from headstart.keras.runtime import fresh_names, keras
from headstart.keras.training.head import build_head, load_head

Floats = npt.NDArray[np.float32]

#: The layer that :func:`headstart.keras.training.head.build_head` makes.
_HEAD = "head"


def classifier(
    record: BackboneRecord,
    backbone_folder: Path,
    weights_folder: Path | None,
    head: Sequence[Mapping[str, Any]],
    head_weights: Mapping[str, Floats],
) -> keras.Model:
    """Build the model from pixels to probabilities, of standard layers only.

    (A backbone that is a module of TensorFlow Hub is a layer of its own.)

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
    backbone = load_backbone(record, backbone_folder, weights_folder)
    with fresh_names():
        features = feature_model(
            backbone, record.cut, record.pooling, record.preprocessing, dtype="float32"
        )
        top = build_head(head, record.feature_shape)
        load_head(top, head_weights)
        return keras.Model(features.input, top(features.output), name="classifier")


def load_features(path: Path, layer: str | None, batch: int) -> Frozen:
    """Load a ``.keras`` or ``.h5`` file of an export as a function up to one of its layers.

    Parameters
    ----------
    path : Path
        As :func:`headstart.export.record.format_path` returned it, which has compared the
        file with its sha256.
    layer, batch
        As for :func:`cut` and :class:`headstart.keras.networks.engine.Frozen`.
    """
    return Frozen(cut(load_keras(path), layer), batch)


def cut(model: keras.Model, layer: str | None = None) -> keras.Model:
    """Return the part of an exported classifier from its pixels to the output of a layer.

    Parameters
    ----------
    model : keras.Model
        As :func:`headstart.keras.export.classifier.classifier` builds it: one layer after another,
        of which the backbone and the head are models in themselves.
    layer : str or None
        Of the backbone, between base and head, or of the head; None: what the head reads.

    Raises
    ------
    ParameterError
        If there is no such layer; the message names the nearest.
    """
    names: list[str] = []
    found = model.input
    with fresh_names():
        # Not `model.layers`: what was made by keras.ops between them would be passed over.
        for part in model.operations:
            if isinstance(part, keras.layers.InputLayer):
                continue
            if layer is None and part.name == _HEAD:
                return keras.Model(model.input, found, name="features")
            inner = [each.name for each in part.layers] if isinstance(part, keras.Model) else []
            if layer is not None and layer in inner:
                lower = keras.Model(part.input, part.get_layer(layer).output)
                return keras.Model(model.input, lower(found), name="features")
            found = part(found)
            if part.name == layer:
                return keras.Model(model.input, found, name="features")
            names += [*inner, part.name]
    if layer is None:
        raise HeadstartError(
            f"This file has no layer {_HEAD!r}, which reads the features; it ends in: "
            f"{', '.join(names[-5:])}. It is of another program, or of another version of this "
            "one. Name a layer with --layer."
        )
    expected = (
        "The option `--layer` must be a layer of the exported model; `headstart show model "
        "--layers` lists all of the backbone's."
    )
    raise unknown_layer(expected, layer, names)
