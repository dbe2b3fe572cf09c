"""An exported model as a function from pixels to features, of its head or of an earlier layer.

The Keras formats alone hold layers that can be told apart. They are of standard layers, load in
safe mode, and are loaded only if they are the files that the export recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import CorruptFileError, HeadstartError
from headstart._utils.machine import KERAS_BATCH, cores
from headstart.backbones.hub_handles import HUB
from headstart.export.formats import FormatName
from headstart.export.record import ExportedModel, format_path, read_exported

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
LayeredFormat = Literal["keras", "h5"]

#: Forms with layers, the preferred ones first.
LAYERED: tuple[LayeredFormat, ...] = ("keras", "h5")


@dataclass(frozen=True)
class Extractor:
    """A loaded model, cut; several threads may call it at once.

    Attributes
    ----------
    model : ExportedModel
        Its record.
    form : str
        The form that runs.
    shape : tuple of int
        Of one image's features: a vector, or a map (height, width, channels).
    run : callable
        At most ``batch`` images, uint8 (n, size, size, 3), to float32 (n, *shape).
    batch : int
        Images that a call should have.
    calls : int
        Calls that run at the same time: TensorFlow uses all cores for one; a second one decodes
        meanwhile.
    """

    model: ExportedModel
    form: FormatName
    shape: tuple[int, ...]
    run: Callable[[Pixels], Floats]
    batch: int = KERAS_BATCH
    calls: int = 2

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        return self.model.image_size

    def __call__(self, pixels: Pixels) -> Floats:
        """Features of n images, float32, of shape (n, *shape).

        Raises
        ------
        CorruptFileError
            If one is no finite number.
        """
        found = self.run(pixels)
        if not np.isfinite(found).all():
            raise CorruptFileError(
                f"The format {self.form} gave features that are no finite numbers. The model is "
                "damaged in itself: train and export it again (`dvc repro --force`)."
            )
        return found


def load(folder: Path, form: LayeredFormat | None = None, layer: str | None = None) -> Extractor:
    """The model of an export folder, cut where its features are.

    Parameters
    ----------
    folder : Path
        With a ``model.json``.
    form : str, optional
        One of :data:`LAYERED`; by default the first of them that was exported.
    layer : str, optional
        The layer whose output the features are; by default they are what the head reads.

    Raises
    ------
    HeadstartError
        If there is no model, no form with layers, or no such layer.
    CorruptFileError
        If a file is not the one that was exported; then it is not loaded.
    """
    model = read_exported(folder)
    chosen = form or _first(folder, model)
    path = format_path(folder, model, chosen)
    from headstart.keras.runtime import configure  # isort: skip - before anything else of TensorFlow

    configure(cores())
    from headstart.keras.export.features import load_features

    function: Any = load_features(path, layer, KERAS_BATCH)
    return Extractor(model, chosen, function.shape, function)


def _first(folder: Path, model: ExportedModel) -> LayeredFormat:
    for name in LAYERED:
        if name in model.formats:
            return name
    if model.backbone.name == HUB:
        raise HeadstartError(
            "Features come from the format keras or h5, and a module of TensorFlow Hub cannot be "
            "written in either: its layers are none of Keras. `data/features` holds those of the "
            "run's own images."
        )
    raise HeadstartError(
        f"Features come from the format keras or h5, whose layers can be told apart; {folder} has "
        f"{', '.join(sorted(model.formats))}. Add keras to export.formats in params.yaml and run "
        "`dvc repro export`."
    )
