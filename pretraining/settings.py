"""``pretraining/params.yaml``, typed: every value that decides the small backbone's weights."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError
from ruamel.yaml import YAML

from headstart._utils.errors import ParameterError
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


class SourceParams(Section):
    """Where the images come from.

    Attributes
    ----------
    location : str
        URL or path of the archive; a path is relative to the folder of the project.
    sha256 : str or None
        Checked where it is given.
    per_class : int or None
        At most so many images of a class; None: all.
    image_size : int
        Side in pixels that the images are kept at.
    """

    location: Annotated[str, Field(min_length=1)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None
    per_class: PositiveInt | None
    image_size: Side


class Settings(Section):
    """The whole file."""

    seed: Annotated[int, Field(ge=0)]
    source: SourceParams
    teacher: TeacherParams
    train: TrainParams


def read_settings(path: Path) -> Settings:
    """Read and check the file.

    Raises
    ------
    ParameterError
        Naming each key at fault.
    """
    try:
        return Settings.model_validate(YAML(typ="safe").load(path))
    except ValidationError as error:
        faults = "\n".join(
            f"  - {'.'.join(map(str, fault['loc']))}: {fault['msg']}. Got {fault['input']!r}."
            for fault in error.errors()
        )
        raise ParameterError(f"{path} has {error.error_count()} faults:\n{faults}") from None


def rate_at(position: float, params: TrainParams) -> float:
    """Return the learning rate after ``position`` epochs: up, level, down along a cosine."""
    if position < params.warm_up:
        return params.learning_rate * position / params.warm_up
    fallen = (position - (params.epochs - params.cool_down)) / max(params.cool_down, 1)
    return params.learning_rate * (1 + math.cos(math.pi * min(max(fallen, 0.0), 1.0))) / 2


def continues(before: dict[str, Any], now: dict[str, Any], done: int) -> bool:
    """Return whether epochs done by one recipe are those that another would have done."""
    late = ("epochs", "cool_down", "last_sizes")
    level = min(recipe["epochs"] - recipe["cool_down"] for recipe in (before, now))
    same = {key for key in now if before.get(key) == now[key]}
    return same == set(now) or (done <= level and set(now) - same <= set(late))


def parse_paths(module: str, description: str | None, *names: str) -> argparse.Namespace:
    """Read a command line whose options all are required paths."""
    options = argparse.ArgumentParser(
        prog=f"python -m pretraining.{module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name in names:
        options.add_argument(f"--{name}", type=Path, required=True)
    return options.parse_args()
