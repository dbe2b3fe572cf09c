"""The top of a backbone and its head as one trainable model, and its parts as converted networks.

Batch normalization keeps its statistics by default, in backbone and head: every such layer is
frozen *and* the backbone is called with ``training=False``, because with only one of the two Keras
lets statistics move and the backbone's dropout act.

Both parts are converted for LiteRT, whatever ``extract_features.engine`` says: activations are
cached, and evaluation runs without TensorFlow. A backbone that does not convert can be used with
``engine: keras`` and its head alone, and cannot be fine-tuned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart._utils.disk import amount
from headstart._utils.errors import HeadstartError
from headstart.backbones.record import BackboneRecord
from headstart.backbones.weights import Weights
from headstart.keras.networks.backbone import cut_at, feature_model, load_backbone, pool, preprocess
from headstart.keras.networks.conversion import to_tflite
from headstart.keras.networks.engine import in_batches
from headstart.keras.runtime import keras
from headstart.keras.training.fitting import fit
from headstart.keras.training.head import (
    build_head,
    dump_head,
    load_head,
    logits_model,
    probabilities_of,
)
from headstart.keras.training.layers import (
    freeze,
    nodes_of,
    saved_by_caching,
    split,
    stop_dropout,
)
from headstart.training.batches import BatchSource
from headstart.training.checkpoint import Checkpoint
from headstart.training.head import loss_of
from headstart.training.history import History
from headstart.training.parameters import Tuning
from headstart.training.settings import FitSettings
from headstart.training.unfreezing import Cut, choose, unfrozen

#: Epochs over which a cosine rate rises: the first gradients of a new optimizer are the roughest.
_WARM_UP = 1
_FORWARD_AT_ONCE = 8
#: Share of an epoch's arithmetic from which cached activations are worth their room.
_WORTH_CACHING = 0.1


class Tuner:
    """A backbone divided in two, with the head on top.

    Parameters
    ----------
    record : BackboneRecord
    folder : Path
        The backbone folder: the pretrained weights.
    params : Tuning
        The layers to unfreeze, and the mode of BatchNormalization.
    head : sequence of dict
        Layers of the head.
    weights : mapping of str to ndarray
        Of the trained head.
    seed : int
        Of the head's dropout.

    Attributes
    ----------
    backbone : keras.Model
        The whole backbone, uncut and headless.
    head_layers : sequence of dict
        Layers of the head.
    cut : Cut
        Where the lower part ends.
    model : TopModel
        The trained model: from activations at the cut, or pixels, to logits.
    """

    def __init__(
        self,
        record: BackboneRecord,
        folder: Path,
        params: Tuning,
        head: Sequence[Mapping[str, Any]],
        weights: Mapping[str, npt.NDArray[np.float32]],
        seed: int,
    ) -> None:
        self.record, self.params, self.head_layers = record, params, head
        self.backbone = load_backbone(record, folder)
        used = cut_at(self.backbone, record.cut)
        self.backbone.trainable = True  # so that its layers show what they could learn
        nodes = nodes_of(used)
        if not any(node.learns for node in nodes):
            raise HeadstartError(
                f"The backbone {record.weights} cannot be fine-tuned: it gives features only, as "
                "networks in .onnx and .tflite files and modules without trainable variables do. "
                "Nothing was written. Set `fine_tune.epochs: 0` to keep the head-only model, or "
                "use a .keras file or a SavedModel of the same network."
            )
        self.cut: Cut = choose(nodes, params.unfreeze_by, params.unfreeze, params.batch_norm)
        names = [node.name for node in nodes]
        learning = unfrozen(names, self.cut.unfrozen_from, alone=self.cut.alone)
        freeze(self.backbone, learning, params.batch_norm)
        if self.cut.alone:
            stop_dropout(self.backbone, learning)
        if not self.backbone.trainable_weights:
            raise HeadstartError(
                f"Nothing of {record.weights} can be trained from {self.cut.unfrozen_from} up: it "
                "gives features only. Nothing was written. Set `fine_tune.epochs: 0` to keep the "
                "head-only model."
            )
        self.head = build_head(head, record.feature_shape, seed)
        load_head(self.head, weights)
        for layer in self.head.layers:
            # The head's as well: its statistics would follow the moving features too slowly, and
            # validation, which uses them, would judge another model than the one that learns.
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable:
                layer.trainable = params.batch_norm == "train"
        self._upper = split(used, self.cut)[1]
        self.model = TopModel(
            self._upper,
            record,
            logits_model(self.head),
            from_pixels=self.cut.after is None,
            learns_statistics=params.batch_norm == "train",
        )
        self.model.build((None, *self._upper.input_shape[1:]))

    def fit(
        self,
        train: BatchSource,
        validation: BatchSource,
        seed: int,
        class_weights: str = "none",
        *,
        calibrated: bool = False,
        doubt: float = 0.0,
        checkpoint: Checkpoint | None = None,
    ) -> History:
        """Train in place; the weights of the best epoch stay.

        ``class_weights``: ``none`` or ``balanced``, as in the section train_head. ``calibrated``:
        epochs are compared by the loss with the best temperature. ``doubt``: as in the
        settings. With a ``checkpoint``, an
        interrupted training resumes.
        """
        classes = self.head.output_shape[-1]
        settings = FitSettings.of(
            self.params,
            loss_of(self.head_layers),
            seed,
            (train.labels, classes) if class_weights == "balanced" else None,
            calibrated=calibrated,
            doubt=doubt,
            schedule=self.params.learning_rate_schedule,
            warm_up=_WARM_UP,
        )
        return fit(self.model, train, validation, settings, checkpoint=checkpoint)

    def trained_parameters(self) -> int:
        """Return the number of trained parameters, including the head's."""
        return sum(int(np.prod(v.shape)) for v in self.model.trainable_variables)

    def describe(self) -> str:
        """Return a sentence about the trained layers and the end of the frozen part."""
        cut = self.cut
        frozen = (
            "the whole backbone runs in every epoch"
            if cut.after is None
            else f"the layers up to {cut.after} are frozen and their output is cached"
        )
        moved = (
            f" (a cut right below it is not possible: {cut.frozen_above} layers in between stay "
            "frozen and run in every epoch)"
            if cut.frozen_above
            else ""
        )
        what = (
            f"of {cut.unfrozen_from} and no other layer"
            if cut.alone
            else f"from {cut.unfrozen_from} up"
        )
        return (
            f"Fine-tuning {what}, {self.trained_parameters():,} parameters with the head; "
            f"{frozen}{moved}."
        )

    def warning(self, images: int) -> str | None:
        """Return a sentence about a cut so low that its cached output saves hardly any time.

        Parameters
        ----------
        images : int
            Whose activations would be cached.
        """
        if self.cut.after is None:
            return None
        saved = saved_by_caching(cut_at(self.backbone, self.record.cut), self.cut)
        if saved >= _WORTH_CACHING:
            return None
        size = 4 * int(np.prod(self._upper.input_shape[1:]))
        return (
            f"Warning: caching the output of {self.cut.after} saves only {100 * saved:.0f} % of "
            f"each epoch's arithmetic, and takes {amount(size)} per image: "
            f"{amount(size * images)}, twice while the stage runs. Unfreeze fewer layers, or all "
            "of them, which needs no cache: `fine_tune.unfreeze_by: index` and `unfreeze: 0`."
        )

    def head_weights(self) -> Weights:
        """Return the current weights of the head."""
        return dump_head(self.head)

    def lower_network(self) -> bytes | None:
        """Convert uint8 pixels to activations at the cut; None if nothing lies below it."""
        if self.cut.after is None:
            return None
        return _converted(
            feature_model(self.backbone, self.cut.after, "none", self.record.preprocessing),
            f"frozen part (up to {self.cut.after})",
        )

    def upper_network(self) -> bytes:
        """Convert activations (or uint8 pixels) to features, with the current weights."""
        if self.cut.after is None:
            record = self.record
            whole = feature_model(self.backbone, record.cut, record.pooling, record.preprocessing)
            return _converted(whole, "whole backbone")
        entry = keras.Input(self._upper.input_shape[1:], name="activations")
        features = pool(self._upper(entry, training=False), self.record.pooling)
        return _converted(
            keras.Model(entry, features, name="features"),
            f"trained part (above {self.cut.after})",
        )

    def check_convertible(self) -> None:
        """Convert the trained part once, if this backbone was not converted before.

        With ``engine: litert`` the whole backbone was. With ``engine: keras`` it was not, and an
        error after the training would come late.
        """
        if self.record.engine == "keras":
            self.upper_network()

    def probabilities(self, inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return the Keras model's probabilities for activations (or pixels)."""

        def forward(some: npt.NDArray[Any]) -> Any:
            logits = self.model(np.asarray(some, np.float32), training=False)
            return probabilities_of(self.head, logits)

        # Outside of a graph, an image at 224 pixels takes 60 MB in a whole MobileNetV2.
        return in_batches(forward, inputs, _FORWARD_AT_ONCE)


class TopModel(keras.layers.Layer):  # type: ignore[misc]
    """Upper part of a backbone, pooling and head; decides which of them run as in training.

    Parameters
    ----------
    upper : keras.Model
    record : BackboneRecord
        Pooling, and the preprocessing if ``from_pixels``.
    head : keras.Model
        Features to logits.
    from_pixels : bool
        True if the input is pixels, and not activations of a lower part.
    learns_statistics : bool
        True if the upper part is called as in training.
    """

    def __init__(
        self,
        upper: Any,
        record: BackboneRecord,
        head: Any,
        *,
        from_pixels: bool,
        learns_statistics: bool,
    ) -> None:
        super().__init__(name="top")
        self.upper, self.head = upper, head
        self.learns_statistics = learns_statistics
        pixels = keras.Input(upper.input_shape[1:])
        self.entry = (
            keras.Model(pixels, preprocess(pixels, record.preprocessing)) if from_pixels else None
        )
        last = keras.Input(upper.output_shape[1:])
        self.exit = keras.Model(last, pool(last, record.pooling))

    def build(self, input_shape: Any) -> None:  # noqa: ARG002 - Keras' signature
        """Build nothing: the parts have their weights."""
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return logits of shape (n, n_classes)."""
        x = inputs if self.entry is None else self.entry(inputs)
        x = self.upper(x, training=bool(training) and self.learns_statistics)
        return self.head(self.exit(x), training=training)


def _converted(model: Any, part: str) -> bytes:
    """Convert a network, or raise an error that a person can act on.

    Raises
    ------
    HeadstartError
        If LiteRT has no such operation.
    """
    try:
        return to_tflite(model)
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise HeadstartError(
            f"The {part} of this backbone does not convert to LiteRT, which fine-tuning needs with "
            f"either engine: {lines[0][:300]} Nothing of the fine-tuning was written; the features "
            "and the trained head are kept. Set `fine_tune.epochs: 0` to keep the head-only "
            "model, or use another backbone (`headstart backbones`)."
        ) from error
