"""An exported model as a function from pixels to probabilities, from its folder alone.

LiteRT runs it without TensorFlow, in as many threads as there are cores; where no LiteRT file was
exported, the SavedModel's signature for pixels does. Images are decoded by
:mod:`headstart.images.resize` either way, so that a model sees what it was trained on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import CorruptFileError, HeadstartError
from headstart._utils.machine import cores
from headstart.export.formats import FORMATS, FormatName
from headstart.export.record import ExportedModel, format_path, read_exported

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

#: Forms that can be run here, the preferred ones first: float32 before what is rounded.
RUNNABLE: tuple[FormatName, ...] = (
    "tflite_float32",
    "saved_model",
    "tflite_float16",
    "tflite_int8",
)
#: Images that a call of TensorFlow takes; LiteRT passes them one at a time.
_TENSORFLOW_BATCH = 32


@dataclass(frozen=True)
class Classifier:
    """A loaded model; several threads may call it at once.

    Attributes
    ----------
    model : ExportedModel
        Its record.
    form : str
        The form that runs.
    batch : int
        Images that a call should have; 1 where more bring nothing.
    calls : int
        Calls that run at the same time.
    run : callable
        uint8 (n, size, size, 3) to float32 (n, n_classes).
    """

    model: ExportedModel
    form: FormatName
    batch: int
    calls: int
    run: Callable[[Pixels], Floats]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of the probabilities."""
        return self.model.classes

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        return self.model.image_size

    def __call__(self, pixels: Pixels) -> Floats:
        """Probabilities of n images.

        Parameters
        ----------
        pixels : ndarray of shape (n, size, size, 3), uint8

        Returns
        -------
        ndarray of shape (n, n_classes), float32

        Raises
        ------
        CorruptFileError
            If the network gives something else, or what is no finite number.
        """
        found = self.run(pixels)
        if found.shape != (len(pixels), len(self.classes)) or not np.isfinite(found).all():
            raise CorruptFileError(
                f"The format {self.form} gave no finite probability for each of "
                f"{len(self.classes)} classes (an array of shape {found.shape[1:]}). It is not the "
                "model that its record describes: export it again (`dvc repro export`)."
            )
        return found


def load(folder: Path, form: FormatName | None = None) -> Classifier:
    """The model of an export folder.

    Parameters
    ----------
    folder : Path
        With a ``model.json``.
    form : str, optional
        One of :data:`RUNNABLE`; by default the first of them that was exported.

    Raises
    ------
    HeadstartError
        If there is no model, or no form that can be run.
    CorruptFileError
        If a file is damaged; then it is not loaded.
    """
    model = read_exported(folder)
    chosen = form or _best(folder, model)
    path = format_path(folder, model, chosen)
    if FORMATS[chosen].library == "litert":
        return _by_litert(model, chosen, path)
    return _by_tensorflow(model, chosen, path)


def _best(folder: Path, model: ExportedModel) -> FormatName:
    for name in RUNNABLE:
        if name in model.formats:
            return name
    raise HeadstartError(
        f"None of the formats in {folder} can be run by this command: there are "
        f"{', '.join(sorted(model.formats))}; it takes {', '.join(RUNNABLE)}. Add one to "
        "export.formats in params.yaml and run `dvc repro export`."
    )


def _by_litert(model: ExportedModel, form: FormatName, path: Path) -> Classifier:
    from headstart.training.activations import Pool

    pool = Pool(path)

    def run(pixels: Pixels) -> Floats:
        return np.asarray(pool(pixels), np.float32)

    return Classifier(model, form, 1, pool.count, run)


def _by_tensorflow(model: ExportedModel, form: FormatName, path: Path) -> Classifier:
    from headstart.keras.runtime import configure  # isort: skip - before anything else of TensorFlow

    configure(cores())
    from headstart.keras.export import model as model_io

    loaded: Any = model_io.load_saved_model(path)

    def run(pixels: Pixels) -> Floats:
        return np.asarray(model_io.run_pixels(loaded, pixels), np.float32)

    # TensorFlow uses all cores for one call; a second one decodes its answer meanwhile.
    return Classifier(model, form, _TENSORFLOW_BATCH, 2, run)
