"""pretraining/params.yaml, typed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError
from ruamel.yaml import YAML

from headstart._utils.errors import ParameterError
from headstart.stage.sections import PositiveInt, Section
from pretraining.recipe import Side, TeacherParams, TrainParams


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
