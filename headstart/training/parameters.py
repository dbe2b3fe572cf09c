"""``train_head``, ``fine_tune`` and ``compute``: the head, the top of the backbone, and threads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field, ValidationInfo, field_validator

from headstart._utils.errors import ParameterError, UnfitError
from headstart.backbones.layers import known_layers, up_to
from headstart.images.augmentation_parameters import AugmentParams
from headstart.stage.sections import (
    BatchSize,
    Epochs,
    NonNegativeFloat,
    PositiveFloat,
    Probability,
    Section,
    Steps,
    Threads,
    Units,
)
from headstart.training.unfreezing import choose


class OptimizerSpec(NamedTuple):
    """A row of the table of optimizers.

    Attributes
    ----------
    in_keras : str
        The class in ``keras.optimizers``, which takes the decoupled ``weight_decay``.
    rule : str
        The same in NumPy: a key of :data:`headstart.training.optimizers.RULES`.
    weight_decay : float
        Of Keras, where none is given.
    """

    in_keras: str
    rule: Literal["adam", "rmsprop", "sgd"]
    weight_decay: float = 0.0


#: The one table of optimizers, by the name in params.yaml.
OPTIMIZERS: Mapping[str, OptimizerSpec] = {
    "adam": OptimizerSpec("Adam", "adam"),
    "adamw": OptimizerSpec("AdamW", "adam", weight_decay=0.004),
    "rmsprop": OptimizerSpec("RMSprop", "rmsprop"),
    "sgd": OptimizerSpec("SGD", "sgd"),
}
if TYPE_CHECKING:  # A type checker sees no table.
    OptimizerName = str
else:
    OptimizerName = Literal[tuple(OPTIMIZERS)]
UnfreezeBy = Literal["layer", "index", "count", "block", "only"]
BatchNorm = Literal["inference", "train"]
Loss = Literal["categorical_crossentropy", "binary_crossentropy"]
Normalization = Literal["standardize", "batch", "none"]
Schedule = Literal["cosine", "constant"]
Calibration = Literal["temperature", "none"]


class TrainHeadParams(Section):
    """Architecture and training of the head."""

    hidden: Annotated[list[Units], Field(max_length=16)]
    normalization: Normalization
    dropout: Probability
    outputs: Literal["classes", "one"]
    activation: Literal["softmax", "sigmoid"]
    loss: Loss
    label_smoothing: Probability
    optimizer: OptimizerName
    learning_rate: PositiveFloat
    learning_rate_schedule: Schedule
    weight_decay: NonNegativeFloat
    batch_size: BatchSize
    epochs: Epochs
    steps_per_epoch: Steps | None
    early_stopping_patience: Epochs | None
    calibration: Calibration
    class_weights: Literal["none", "balanced"]

    @field_validator("activation")
    @classmethod
    def _fits_the_outputs(cls, activation: str, info: ValidationInfo) -> str:
        if info.data.get("outputs") == "one" and activation != "sigmoid":
            raise UnfitError(
                "sigmoid with `outputs: one`",
                "The softmax of a single output is 1, whatever the image.",
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
                "The other one is computed on numbers that are not probabilities of that kind.",
            )
        return loss


class FineTuneParams(Section):
    """The layers to unfreeze and their training; ``epochs: 0`` passes the head's model through."""

    epochs: Annotated[int, Field(ge=0, le=10_000)]
    unfreeze_by: UnfreezeBy
    unfreeze: str | int
    batch_norm: BatchNorm
    optimizer: OptimizerName
    learning_rate: PositiveFloat
    learning_rate_schedule: Schedule
    weight_decay: NonNegativeFloat
    batch_size: BatchSize
    early_stopping_patience: Epochs | None
    augment: AugmentParams

    @field_validator("unfreeze")
    @classmethod
    def _is_what_unfreeze_by_counts(cls, unfreeze: str | int, info: ValidationInfo) -> str | int:
        by = info.data.get("unfreeze_by")
        if by == "layer" and not (isinstance(unfreeze, str) and unfreeze):
            raise UnfitError("the name of a layer with `unfreeze_by: layer`")
        if by == "only" and (unfreeze == "" or (isinstance(unfreeze, int) and unfreeze < 0)):
            raise UnfitError("the name of a layer or an integer ≥ 0 with `unfreeze_by: only`")
        if by in {"index", "count", "block"}:
            least = 0 if by == "index" else 1
            if isinstance(unfreeze, str) or unfreeze < least:
                raise UnfitError(f"an integer ≥ {least} with `unfreeze_by: {by}`")
        return unfreeze

    def faults_beside(self, params: Any) -> Iterator[tuple[str, str]]:
        """Yield an ``unfreeze`` that names no layer of the backbone, or that cannot learn."""
        nodes = up_to(known_layers(params.backbone.name), params.backbone.cut)
        if self.epochs and nodes:  # A module's layers are known once it has been loaded.
            try:
                choose(nodes, self.unfreeze_by, self.unfreeze, self.batch_norm)
            except ParameterError as error:
                yield "unfreeze", str(error)


class ComputeParams(Section):
    """Resources of the stages that train."""

    threads: Threads
