"""``export``: the files that leave the project, and how closely they must agree."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

from pydantic import Field, field_validator

from headstart._utils.errors import UnfitError
from headstart.export.formats import FORMATS, FormatName
from headstart.stage.sections import Portion, PositiveFloat, PositiveInt, Section

#: The packages of each extra that a form needs.
_PACKAGES = {"onnx": ("onnx", "onnxruntime", "tf2onnx")}


class ExportParams(Section):
    """Forms of the exported model, and their parity with the evaluated predictions.

    A form of float32 must say the same first guess of every image, and no probability may differ
    by more than ``max_probability_difference``; the others must say the same first guess of a
    share of the images.
    """

    formats: Annotated[list[FormatName], Field(min_length=1)]
    parity_images: PositiveInt
    max_probability_difference: PositiveFloat
    min_agreement_encoded: Portion
    min_agreement_float16: Portion
    min_agreement_int8: Portion
    calibration_images: PositiveInt

    @field_validator("formats")
    @classmethod
    def _are_distinct(cls, formats: list[FormatName]) -> list[FormatName]:
        if len(set(formats)) != len(formats):
            raise UnfitError("a list of different formats")
        return formats

    @field_validator("formats")
    @classmethod
    def _can_be_made_here(cls, formats: list[FormatName]) -> list[FormatName]:
        # Here, and not when the form is written: a training may lie between.
        for name in formats:
            extra = FORMATS[name].extra
            absent = [package for package in _PACKAGES.get(extra or "", ()) if not _here(package)]
            if absent:
                raise UnfitError(
                    f"a list of formats that can be made here, without {name}",
                    f"{name} needs the extra `{extra}`; not installed: {', '.join(absent)}. "
                    f"`pip install 'headstart[{extra}]'` installs it (`make env` does, too), or "
                    f"leave {name} out.",
                )
        return formats


def _here(package: str) -> bool:
    return find_spec(package) is not None
