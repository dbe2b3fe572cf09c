"""``train_head``: the classifier on the recorded features."""

from __future__ import annotations

from typing import Literal

from pydantic import ValidationInfo, field_validator

from stages.core.errors import UnfitError
from stages.core.params.base import PositiveFloat, PositiveInt, Probability, Section

Optimizer = Literal["adam", "rmsprop", "sgd"]


class TrainHeadParams(Section):
    """Architecture and training of the head."""

    hidden: list[PositiveInt]
    batch_normalization: bool
    dropout: Probability
    outputs: Literal["classes", "one"]
    activation: Literal["softmax", "sigmoid"]
    loss: Literal["categorical_crossentropy", "binary_crossentropy"]
    optimizer: Optimizer
    learning_rate: PositiveFloat
    batch_size: PositiveInt
    epochs: PositiveInt
    steps_per_epoch: PositiveInt | None
    early_stopping_patience: PositiveInt | None
    class_weights: Literal["none", "balanced"]

    @field_validator("activation")
    @classmethod
    def _fits_the_outputs(cls, activation: str, info: ValidationInfo) -> str:
        if info.data.get("outputs") == "one" and activation != "sigmoid":
            raise UnfitError(
                "sigmoid with `outputs: one`",
                "The softmax of a single output is 1, whatever the picture.",
            )
        return activation

    @field_validator("loss")
    @classmethod
    def _fits_the_activation(cls, loss: str, info: ValidationInfo) -> str:
        activation = info.data.get("activation")
        fits = {"softmax": "categorical_crossentropy", "sigmoid": "binary_crossentropy"}
        if activation and loss != fits[activation]:
            raise UnfitError(
                f"{fits[activation]} with `activation: {activation}`",
                "The other one is computed on numbers that are no probabilities of that kind.",
            )
        return loss
