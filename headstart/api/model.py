"""An exported model that predicts: from its folder alone, by LiteRT where it was exported."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from headstart.api.checks import ArgumentError
from headstart.api.images import LIMITS, Images
from headstart.serving.models import Classifier, load_classifier
from headstart.serving.prediction import run


class Model:
    """An exported model; made by :func:`load_model`.

    Attributes
    ----------
    labels : tuple of str
        Names of the classes, in the order of the probabilities.
    image_size : int
        Images are resized to a square with sides of this many pixels.
    """

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self.labels = tuple(classifier.classes)
        self.image_size = classifier.size

    def __repr__(self) -> str:
        return f"<headstart model of {len(self.labels)} classes, {self.image_size} pixels>"

    def predict(self, X: Any, *, on_error: Literal["raise", "keep"] = "raise") -> pd.DataFrame:
        """Return the most probable class of each image.

        Parameters
        ----------
        X : sequence, ndarray, Series or DataFrame
            Images as in :meth:`FeatureExtractor.transform`.
        on_error : {"raise", "keep"}, default="raise"
            Treatment of unusable images. ``keep`` keeps their rows, without a label; the column
            ``rejected`` has the reason.

        Returns
        -------
        DataFrame
            A row for each image in the order of ``X`` (and with its index, where it has one), and
            the columns ``path``, ``label``, ``probability`` and ``rejected`` ("" for none).

        Raises
        ------
        RejectedImagesError
            If an image cannot be used, unless ``on_error`` is ``keep``.
        """
        if on_error not in {"raise", "keep"}:
            raise ArgumentError(
                f"The `on_error` parameter must be 'raise' or 'keep'. Got {on_error!r} instead."
            )
        images = Images(X)
        found = self._probabilities(images)
        if on_error == "raise":
            images.require_usable()
        usable = np.array([i not in images.rejected for i in range(len(images))], dtype=bool)
        best = np.where(usable, found.argmax(axis=1), 0)
        labels = pd.Series(np.asarray(self.labels, dtype=object)[best], dtype="str")
        reasons = [
            f"{fault.reason}: {fault.detail}" if (fault := images.rejected.get(i)) else ""
            for i in range(len(images))
        ]
        table = pd.DataFrame(
            {
                "path": pd.Series([images.name(i) for i in range(len(images))], dtype="str"),
                "label": labels.where(pd.Series(usable)),
                "probability": found.max(axis=1),
                "rejected": pd.Series(reasons, dtype="str"),
            }
        )
        return table if images.index is None else table.set_axis(images.index)

    def predict_proba(self, X: Any) -> npt.NDArray[np.float32]:
        """Return the probability of each class.

        Parameters
        ----------
        X : as in :meth:`predict`

        Returns
        -------
        ndarray of shape (n_images, n_classes), float32
            Columns in the order of ``labels``.

        Raises
        ------
        RejectedImagesError
            If an image cannot be used.
        """
        images = Images(X)
        found = self._probabilities(images)
        images.require_usable()
        return found

    def _probabilities(self, images: Images) -> npt.NDArray[np.float32]:
        """Return a row for each image; NaN for the rejected ones."""
        found = np.full((len(images), len(self.labels)), np.nan, np.float32)
        for outcome in run(self._classifier, range(len(images)), images.read, LIMITS):
            if outcome.fault is not None:
                images.rejected[outcome.input] = outcome.fault
            else:
                found[outcome.input] = outcome.output
        return found


def load_model(folder: str | os.PathLike[str] = "data/export") -> Model:
    """Load the model of an export folder, after a check of its files.

    The float32 LiteRT file is preferred, because it needs no TensorFlow. If it was not exported,
    the SavedModel is used.

    Parameters
    ----------
    folder : path, default="data/export"
        The folder that the stage ``export`` wrote, or a copy of it.

    Returns
    -------
    Model
        With ``predict``, ``predict_proba``, ``labels`` and ``image_size``.

    Raises
    ------
    HeadstartError
        If the folder holds no exported model that can be run.

    Examples
    --------
    >>> import headstart as hs
    >>> model = hs.load_model("data/export")
    >>> model.labels
    ('blue', 'green', 'red')
    >>> model.predict(["leaf.png", "empty.png"], on_error="keep")[["path", "label", "rejected"]]
            path  label                      rejected
    0   leaf.png  green
    1  empty.png    NaN  empty: the file has no bytes
    >>> model.predict_proba(["leaf.png"]).shape
    (1, 3)
    """
    return Model(load_classifier(Path(folder)))
