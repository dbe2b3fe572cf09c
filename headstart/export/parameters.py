"""The section ``export``: the export formats, and their required agreement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, field_validator

from headstart._utils.errors import UnfitError
from headstart._utils.extras import needs_extra
from headstart.export.formats import FORMATS, FormatName
from headstart.stage.sections import Portion, PositiveFloat, PositiveInt, Section

#: Backbones with a layer (``LayerScale``) or sums that Keras' HDF5 reader does not know.
_NOT_IN_HDF5 = ("convnext_", "mobilenet_v3_")


class ExportParams(Section):
    """Formats of the exported model, and their parity with the evaluated predictions.

    A format of float32 must predict the same class for every image, and no probability may differ
    by more than ``max_probability_difference``; the others must predict the same class for a share
    of the images, ``min_agreement_<precision>``.
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
    def _are_distinct(cls, names: list[FormatName]) -> list[FormatName]:
        if len(set(names)) != len(names):
            raise UnfitError("a list of different formats")
        return names

    @field_validator("formats")
    @classmethod
    def _can_be_written_here(cls, names: list[FormatName]) -> list[FormatName]:
        # Here, and not when the format is written: hours of training may lie between.
        for name in names:
            extra, absent = FORMATS[name].extra, FORMATS[name].absent()
            if absent:
                raise UnfitError(
                    f"a list of formats that can be written here, without {name}",
                    needs_extra(f"The format {name}", str(extra), ", ".join(absent))
                    + f" Or leave {name} out.",
                )
        return names

    def faults_beside(self, params: Any) -> Iterator[tuple[str, str]]:
        """Yield a format that cannot hold the backbone."""
        name = params.backbone.name
        if "h5" in self.formats and name.startswith(_NOT_IN_HDF5):
            unfit = UnfitError(
                f"a list of formats without h5 with `backbone.name: {name}`",
                "Keras' reader of HDF5 files does not know all of its layers, so that nobody could "
                "load the file. The format keras holds the same model.",
            )
            yield "formats", unfit.sentence("export.formats", str(list(self.formats)))
