"""``train_head``: the classifier on the recorded features."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from stages.core.params.base import PositiveFloat, PositiveInt, Probability, Section

Optimizer = Literal["adam", "rmsprop", "sgd"]


class TrainHeadParams(Section):
    """Architecture and training of the head."""

    hidden: list[PositiveInt]
    batch_normalization: bool
    dropout: Probability
    activation: Literal["softmax", "sigmoid"]
    loss: Literal["categorical_crossentropy", "binary_crossentropy"]
    optimizer: Optimizer
    learning_rate: PositiveFloat
    batch_size: PositiveInt
    epochs: PositiveInt
    steps_per_epoch: PositiveInt | None
    early_stopping_patience: PositiveInt | None
    class_weights: Literal["none", "balanced"]

    @model_validator(mode="after")
    def _loss_fits_activation(self) -> TrainHeadParams:
        fits = {"softmax": "categorical_crossentropy", "sigmoid": "binary_crossentropy"}
        if self.loss != fits[self.activation]:
            raise ValueError(
                f"`loss` must be {fits[self.activation]} with `activation: {self.activation}`: "
                "the other one is computed on numbers that are no probabilities of that kind"
            )
        return self
