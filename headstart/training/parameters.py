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
    Several,
    Steps,
    Threads,
    Units,
    as_list,
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


class _TuningSection(Section):
    """What all trials of a fine-tuning share; ``epochs: 0`` passes the head's model through."""

    epochs: Annotated[int, Field(ge=0, le=10_000)]
    unfreeze_by: UnfreezeBy
    batch_norm: BatchNorm
    optimizer: OptimizerName
    learning_rate_schedule: Schedule
    weight_decay: NonNegativeFloat
    batch_size: BatchSize
    early_stopping_patience: Epochs | None
    augment: AugmentParams


class Tuning(_TuningSection):
    """One trial: the layers to unfreeze, and their learning rate."""

    unfreeze: str | int
    learning_rate: float

    def __str__(self) -> str:
        return f"unfreeze {self.unfreeze}, learning_rate {self.learning_rate:g}"


class FineTuneParams(_TuningSection):
    """The layers to unfreeze and their training; several values of two keys are tried in turn."""

    unfreeze: Several[str | int]
    learning_rate: Several[PositiveFloat]

    @field_validator("unfreeze")
    @classmethod
    def _is_what_unfreeze_by_counts(
        cls, unfreeze: str | int | list[str | int], info: ValidationInfo
    ) -> str | int | list[str | int]:
        for each in as_list(unfreeze):
            _check_unfreeze(info.data.get("unfreeze_by"), each)
        return unfreeze

    def trials(self) -> list[Tuning]:
        """Return the combinations of the values that are tried, in the order of their lists."""
        shared = {name: getattr(self, name) for name in _TuningSection.model_fields}
        return [
            Tuning(**shared, unfreeze=unfreeze, learning_rate=rate)
            for unfreeze in as_list(self.unfreeze)
            for rate in as_list(self.learning_rate)
        ]

    def faults_beside(self, params: Any) -> Iterator[tuple[str, str]]:
        """Yield an ``unfreeze`` that names no layer of the backbone, or that cannot learn."""
        nodes = up_to(known_layers(params.backbone.name), params.backbone.cut)
        if not self.epochs or not nodes:  # A module's layers are known once it has been loaded.
            return
        for unfreeze in as_list(self.unfreeze):
            try:
                choose(nodes, self.unfreeze_by, unfreeze, self.batch_norm)
            except ParameterError as error:
                yield "unfreeze", str(error)


def _check_unfreeze(by: UnfreezeBy | None, unfreeze: str | int) -> None:
    """Refuse a value of the wrong kind.

    Raises
    ------
    UnfitError
        With the kind that ``unfreeze_by`` takes.
    """
    if by == "layer" and not (isinstance(unfreeze, str) and unfreeze):
        raise UnfitError("the name of a layer with `unfreeze_by: layer`")
    if by == "only" and (unfreeze == "" or (isinstance(unfreeze, int) and unfreeze < 0)):
        raise UnfitError("the name of a layer or an integer ≥ 0 with `unfreeze_by: only`")
    if by in {"index", "count", "block"}:
        least = 0 if by == "index" else 1
        if isinstance(unfreeze, str) or unfreeze < least:
            raise UnfitError(f"an integer ≥ {least} with `unfreeze_by: {by}`")


class ComputeParams(Section):
    """Resources of the stages that train."""

    threads: Threads
