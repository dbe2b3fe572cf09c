"""The values of ``pretraining/params.yaml`` that decide the small backbone's weights."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import Field

from headstart.stage.sections import Count, NonNegativeFloat, PositiveFloat, PositiveInt, Section

Side = Annotated[int, Field(ge=32, le=256)]
Sides = Annotated[list[Side], Field(min_length=1)]


class TeacherParams(Section):
    """The network whose features the small one learns to give.

    Attributes
    ----------
    name, alpha, weights
        As in the section ``backbone`` of the main params.yaml.
    image_size : int
        Images are enlarged to this many pixels for it.
    components : int
        Principal components of its features that are kept.
    fitted_on : int
        Images that the components are computed from.
    """

    name: str
    alpha: PositiveFloat
    weights: str
    image_size: Side
    components: PositiveInt
    fitted_on: PositiveInt


class TrainParams(Section):
    """How the small network is trained.

    Attributes
    ----------
    epochs, warm_up, cool_down : int
        Epochs in all; those over which the rate rises to its height, and those over which it
        falls to zero along a cosine. In between it stays, so that a run can be made longer
        before its cool-down has begun.
    batch : int
        Images a step.
    learning_rate, weight_decay : float
        Of AdamW.
    label_smoothing, distillation : float
        Share of the label given to all classes; weight of the teacher's term beside the labels'.
    averaging : float
        Share of the old weights in the running average, which is what is kept.
    sizes, last_sizes : list of int
        Sides of the crops in pixels before the cool-down and in it; each batch draws one.
    least_area : float
        Smallest crop, as a share of the image.
    color, gray : float
        Largest change of brightness, contrast and saturation; share of gray images.
    held_out : float
        Share of the images that only measure.
    threads : int
        CPU threads: they decide the last bits.
    """

    epochs: PositiveInt
    warm_up: Count
    cool_down: Count
    batch: PositiveInt
    learning_rate: PositiveFloat
    weight_decay: NonNegativeFloat
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    distillation: NonNegativeFloat
    averaging: Annotated[float, Field(ge=0, lt=1)]
    sizes: Sides
    last_sizes: Sides
    least_area: Annotated[float, Field(gt=0, le=1)]
    color: Annotated[float, Field(ge=0, lt=1)]
    gray: Annotated[float, Field(ge=0, le=1)]
    held_out: Annotated[float, Field(gt=0, lt=1)]
    threads: PositiveInt


def rate_at(position: float, params: TrainParams) -> float:
    """The learning rate after ``position`` epochs: up, level, down along a cosine."""
    if position < params.warm_up:
        return params.learning_rate * position / params.warm_up
    fallen = (position - (params.epochs - params.cool_down)) / max(params.cool_down, 1)
    return params.learning_rate * (1 + math.cos(math.pi * min(max(fallen, 0.0), 1.0))) / 2


def goes_on(before: dict[str, Any], now: dict[str, Any], done: int) -> bool:
    """Whether epochs done by one recipe are those that another one would have done."""
    late = ("epochs", "cool_down", "last_sizes")
    level = min(recipe["epochs"] - recipe["cool_down"] for recipe in (before, now))
    same = {key for key in now if before.get(key) == now[key]}
    return same == set(now) or (done <= level and set(now) - same <= set(late))
