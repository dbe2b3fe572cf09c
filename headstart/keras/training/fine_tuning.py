"""The top of a backbone and its head as one model that learns, and its parts as converted networks.

BatchNormalization stays as it is unless asked otherwise, in base and head: every such layer is
frozen *and* the backbone is called with ``training=False``, because Keras lets statistics move,
and the backbone's dropout act, where only one of the two is said.

Both parts are converted for LiteRT, whatever ``extract_features.engine`` says: activations are
recorded, and evaluation runs without TensorFlow. A backbone that does not convert can be used with
``engine: keras`` and its head alone, and cannot be fine-tuned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import HeadstartError
from headstart.backbones.record import BackboneRecord
from headstart.backbones.weights import Weights
from headstart.keras.networks.backbone import cut_at, feature_model, load_backbone, pool, preprocess
from headstart.keras.networks.conversion import to_tflite
from headstart.keras.runtime import keras
from headstart.keras.training.batches import BatchSource
from headstart.keras.training.fitting import FitSettings, balanced_class_weights, fit
from headstart.keras.training.head import (
    build_head,
    dump_head,
    load_head,
    logits_model,
    loss_of,
    probabilities_of,
)
from headstart.keras.training.split_backbone import Cut, choose, nodes_of, split, unfrozen
from headstart.training.history import History
from headstart.training.parameters import FineTuneParams


class Tuner:
    """A backbone divided in two, with the head on top.

    Parameters
    ----------
    record : BackboneRecord
    folder : Path
        The backbone folder: the pretrained weights.
    params : FineTuneParams
        What is unfrozen, and what BatchNormalization does.
    head : sequence of dict
        Layers of the head.
    weights : mapping of str to ndarray
        Of the trained head.
    seed : int
        Of the head's dropout.

    Attributes
    ----------
    base : keras.Model
        Whole and uncut, headless.
    cut : Cut
        Where the lower part ends.
    model : TopModel
        What is trained: activations at the cut, or pixels, to logits.
    """

    def __init__(
        self,
        record: BackboneRecord,
        folder: Path,
        params: FineTuneParams,
        head: Sequence[Mapping[str, Any]],
        weights: Mapping[str, npt.NDArray[np.float32]],
        seed: int,
    ) -> None:
        self.record, self.params, self.loss = record, params, loss_of(head)
        self.base = load_backbone(record, folder)
        used = cut_at(self.base, record.cut)
        self.base.trainable = True  # so that its layers show what they could learn
        nodes = nodes_of(used)
        self.cut: Cut = choose(nodes, params.unfreeze_by, params.unfreeze, params.batch_norm)
        names = [node.name for node in nodes]
        learning = unfrozen(names, self.cut.unfrozen_from, alone=self.cut.alone)
        freeze(self.base, learning, params.batch_norm)
        if self.cut.alone:
            still(self.base, learning)
        if not self.base.trainable_weights:
            raise HeadstartError(
                f"Nothing of {record.weights} can be trained from {self.cut.unfrozen_from} up: it "
                "gives features only. Nothing was written. Set `fine_tune.epochs: 0` to go on with "
                "the head alone."
            )
        self.head = build_head(head, record.feature_shape, seed)
        load_head(self.head, weights)
        for layer in self.head.layers:
            # The head's as well: its statistics would follow the moving features too slowly, and
            # validation, which uses them, would judge another model than the one that learns.
            if isinstance(layer, keras.layers.BatchNormalization):
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
        class_weights: Literal["none", "balanced"] = "none",
    ) -> History:
        """Train in place; the weights of the best epoch stay.

        ``class_weights`` are those of the head's training: without them the trained part would
        unlearn what they were asked for.
        """
        settings = FitSettings(
            epochs=self.params.epochs,
            batch_size=self.params.batch_size,
            optimizer=self.params.optimizer,
            learning_rate=self.params.learning_rate,
            loss=self.loss,
            seed=seed,
            patience=self.params.early_stopping_patience,
            weight_decay=self.params.weight_decay,
            class_weights=(
                balanced_class_weights(train.labels, self.head.output_shape[-1])
                if class_weights == "balanced"
                else None
            ),
        )
        return fit(self.model, train, validation, settings)

    def trained_parameters(self) -> int:
        """How many numbers are trained, head included."""
        return sum(int(np.prod(v.shape)) for v in self.model.trainable_variables)

    def describe(self) -> str:
        """What learns and where the frozen part ends, in a sentence."""
        cut = self.cut
        frozen = (
            "the whole backbone runs in every epoch"
            if cut.after is None
            else f"what lies up to {cut.after} is frozen and recorded"
        )
        moved = (
            f" (right below it is no single cut: {cut.frozen_above} layers in between stay frozen "
            "and run in every epoch)"
            if cut.frozen_above
            else ""
        )
        what = (
            f"of {cut.unfrozen_from} and no other layer"
            if cut.alone
            else f"from {cut.unfrozen_from} up"
        )
        return (
            f"Fine-tuning {what}, {self.trained_parameters():,} numbers with the head; "
            f"{frozen}{moved}."
        )

    def head_weights(self) -> Weights:
        """The head's weights as they are now."""
        return dump_head(self.head)

    def lower_network(self) -> bytes | None:
        """uint8 pixels to activations at the cut, converted; None if nothing lies below it."""
        if self.cut.after is None:
            return None
        return _converted(
            feature_model(self.base, self.cut.after, "none", self.record.preprocessing),
            f"frozen part (up to {self.cut.after})",
        )

    def upper_network(self) -> bytes:
        """Activations (or uint8 pixels) to features with the weights as they are now, converted."""
        if self.cut.after is None:
            record = self.record
            whole = feature_model(self.base, record.cut, record.pooling, record.preprocessing)
            return _converted(whole, "whole backbone")
        entry = keras.Input(self._upper.input_shape[1:], name="activations")
        features = pool(self._upper(entry, training=False), self.record.pooling)
        return _converted(
            keras.Model(entry, features, name="features"),
            f"trained part (above {self.cut.after})",
        )

    def check_convertible(self) -> None:
        """Convert the trained part once, where nobody has converted this backbone before.

        With ``engine: litert`` the whole backbone was. With ``engine: keras`` it was not, and to
        find out after the training would be late.
        """
        if self.record.engine == "keras":
            self.upper_network()

    def probabilities(self, inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """What the Keras model says of a batch of activations (or pixels), for inference."""
        logits = self.model(np.asarray(inputs, np.float32), training=False)
        return np.asarray(probabilities_of(self.head, logits), np.float32)


class TopModel(keras.layers.Layer):  # type: ignore[misc]
    """Upper part of a backbone, pooling and head, with the say of who is in training.

    Parameters
    ----------
    upper : keras.Model
    record : BackboneRecord
        Pooling, and the preprocessing if ``from_pixels``.
    head : keras.Model
        Features to logits.
    from_pixels : bool
        Whether the input is pixels, and not activations of a lower part.
    learns_statistics : bool
        Whether the upper part is called as in training.
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
        """Nothing to make: the parts have their weights."""
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Logits of shape (n, n_classes)."""
        x = inputs if self.entry is None else self.entry(inputs)
        x = self.upper(x, training=bool(training) and self.learns_statistics)
        return self.head(self.exit(x), training=training)


def _converted(model: Any, part: str) -> bytes:
    """The network, or an error that a person can act upon.

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
            "and the trained head are kept. Set `fine_tune.epochs: 0` to go on with the head "
            "alone, or take another backbone (`headstart backbones`)."
        ) from error


def freeze(base: Any, unfrozen: Sequence[str], batch_norm: Literal["inference", "train"]) -> None:
    """Make exactly these layers trainable (of BatchNormalization, only if it trains)."""
    names = set(unfrozen)
    base.trainable = True
    for layer in base.layers:
        normalizes = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = layer.name in names and (batch_norm == "train" or not normalizes)


def still(base: Any, unfrozen: Sequence[str]) -> None:
    """Stop the dropout of all layers but these, for training; inference never has any.

    A single layer may need to be called as in training (``batch_norm: train``), and Keras can say
    that to the whole upper part alone. Frozen batch normalization does not listen, dropout does.
    """
    for layer in base.layers:
        if isinstance(layer, keras.layers.Dropout) and layer.name not in unfrozen:
            layer.rate = 0.0
