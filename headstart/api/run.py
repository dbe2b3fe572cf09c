"""The results of a run, as pandas and NumPy; dvc.yaml names their files."""

from __future__ import annotations

import os
import shlex
import weakref
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from ruamel.yaml import YAML

from headstart._utils.contents import Contents
from headstart._utils.errors import HeadstartError
from headstart.api.model import Model, load_model
from headstart.audit.tables import read_curve, read_issues, read_outliers
from headstart.datasets.corrected import read_changed
from headstart.datasets.duplicates import read_pairs
from headstart.datasets.manifests import read_rejected, read_split
from headstart.datasets.shards import ShardReader
from headstart.evaluation.passes import TABLE, read_table
from headstart.evaluation.predictions import Predictions, read_predictions
from headstart.evaluation.recorded import read_evaluation
from headstart.features.folder import Features, read_features
from headstart.training.history import read_epochs

Split = Literal["train", "validation", "test"]


class Run:
    """The results of a run of the pipeline; made by :func:`load_run`.

    Every attribute is read and checked when it is first used, and kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._options = _options(folder / "dvc.yaml")

    def __repr__(self) -> str:
        return f"<headstart run in {self.folder}>"

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the probabilities."""
        return tuple(self._evaluation["classes"])

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """Scores on the test split: a row for the head and one for the final model."""
        rows = {kind: self._evaluation[kind] for kind in ("head", "model")}
        table = pd.DataFrame.from_dict(rows, orient="index")
        return table[[name for name in table if pd.api.types.is_numeric_dtype(table[name])]]

    @cached_property
    def per_class(self) -> pd.DataFrame:
        """Scores of the final model for each class, on the test split."""
        return pd.DataFrame(self._evaluation["model"]["per_class"])

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """The test images: image_id, path, label, and the predicted class with its probability."""
        found = self._predictions
        return found.rows.assign(probability=found.model.max(axis=1))

    def probabilities(self, of: Literal["head", "model"] = "model") -> npt.NDArray[np.float64]:
        """Return the probabilities of all classes, in the order of ``predictions``.

        Parameters
        ----------
        of : {"head", "model"}, default="model"
            The head alone, or the final model.

        Returns
        -------
        ndarray of shape (n_images, n_classes), float64
        """
        found: npt.NDArray[np.float64] = getattr(self._predictions, of)
        return found

    @cached_property
    def images(self) -> pd.DataFrame:
        """The images that were used, with label, size, and assigned split."""
        return read_split(_there(self.path("evaluate", "manifest")))

    @cached_property
    def rejected(self) -> pd.DataFrame:
        """The files of the source that were rejected: path, reason, detail."""
        return read_rejected(_there(self.path("download", "rejected")))

    @cached_property
    def duplicates(self) -> pd.DataFrame:
        """The pairs of images that show the same photograph, with kind and similarity."""
        return read_pairs(_there(self.path("find_duplicates", "pairs")))

    @cached_property
    def corrected(self) -> pd.DataFrame:
        """The images that corrections relabeled or removed, with the label of the source."""
        return read_changed(_there(self.path("split", "changed")))

    @cached_property
    def label_issues(self) -> pd.DataFrame:
        """The images that are taken for another class than their label, the most doubtful first."""
        return read_issues(_there(self.path("audit", "label_issues")))

    @cached_property
    def outliers(self) -> pd.DataFrame:
        """The images that are farthest from all classes."""
        return read_outliers(_there(self.path("audit", "outliers")))

    @cached_property
    def learning_curve(self) -> pd.DataFrame:
        """Accuracy by training images, measured and forecast, with a 90 % band."""
        return read_curve(_there(self.path("audit", "learning_curve")))

    def drift(
        self, images: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], *, seed: int = 42
    ) -> pd.DataFrame:
        """Compare new images with the validation and test images, as ``headstart drift`` does.

        The images go through the run's backbone once. Those of the data set and copies do not
        count.

        Parameters
        ----------
        images : path or sequence of paths
            Files, folders or patterns; at least 20 images.
        seed : int, default=42
            Draws the images and the sides of the tests.

        Returns
        -------
        DataFrame
            A row per test. ``p``: probability of such a difference by chance, if the images are
            like those of the run. ``new``, ``run``: the values that were compared. The row ``any``
            is the verdict of all tests together; ``classifier`` and ``kernel`` compare the
            features, and ``new`` of the former is an AUROC; the others compare what their name
            says: ``distance``, ``confidence``, ``brightness`` …

        Raises
        ------
        RejectedImagesError
            If images cannot be used.
        HeadstartError
            If either side has too few images, or the run's files are absent.

        Examples
        --------
        >>> import headstart as hs
        >>> found = hs.load_run(".").drift("today")
        >>> bool(found.loc["any", "p"] <= 0.01)
        True
        >>> bool(found.loc["brightness", "new"] > found.loc["brightness", "run"])
        True
        """
        from headstart.api.drift import compared

        several = [images] if isinstance(images, str | os.PathLike) else images
        names = [os.fspath(each) for each in several]
        return compared(lambda stage, option: _there(self.path(stage, option)), names, seed)

    def features(self, split: Split) -> tuple[npt.NDArray[Any], pd.DataFrame]:
        """Return the cached features of a split.

        Parameters
        ----------
        split : {"train", "validation", "test"}

        Returns
        -------
        X : ndarray of shape (n_rows, n_features) or (n_rows, height, width, channels)
            A read-only memory map of the file. A split of more than 4,096 images is in several
            files, and becomes an array in memory.
        rows : DataFrame
            ``image_id``, ``label``, and ``view``: 0 for an image as it is, 1 and up for its
            augmented views.
        """
        found = self._features
        return np.asarray(found.array(split)), found.rows(split)

    def files(self, rows: pd.DataFrame | None = None) -> Sequence[bytes]:
        """Return the image files of a run, which are read from its shards one at a time.

        Parameters
        ----------
        rows : DataFrame, optional
            Some rows of ``images``. Default: all of them.

        Returns
        -------
        sequence of bytes
            In the order of the rows; :meth:`FeatureExtractor.transform` takes it.
        """
        chosen = self.images if rows is None else rows
        reader = ShardReader(_there(self.path("evaluate", "images")))
        places = chosen[["shard", "offset", "bytes", "image_id"]].itertuples(index=False, name=None)
        contents = Contents([(reader.read, place) for place in places])
        weakref.finalize(contents, reader.close)
        return contents

    @cached_property
    def history(self) -> pd.DataFrame:
        """Loss and accuracy of each epoch; the column ``phase`` is ``head`` or ``fine_tune``."""
        parts = [
            read_epochs(_there(self.path(stage, "epoch_history"))).assign(phase=phase)
            for stage, phase in (("train_head", "head"), ("fine_tune", "fine_tune"))
        ]
        return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)

    @cached_property
    def passes(self) -> pd.DataFrame:
        """Forward passes through the frozen backbone and seconds of each stage, in the last run."""
        path = self.path("evaluate", "run_statistics") / TABLE
        return pd.DataFrame(read_table(_there(path))["stages"]).set_index("stage")

    @cached_property
    def model(self) -> Model:
        """The exported model."""
        return load_model(self.path("export", "export_folder"))

    def path(self, stage: str, option: str) -> Path:
        """Return where a stage's file or folder lies.

        Parameters
        ----------
        stage : str
            A stage of dvc.yaml.
        option : str
            An option of its command, with underscores: ``predictions``, ``export_folder``.

        Raises
        ------
        HeadstartError
            If dvc.yaml does not name it.
        """
        try:
            return self.folder / self._options[stage][option]
        except KeyError:
            raise HeadstartError(
                f"{self.folder / 'dvc.yaml'} has no stage `{stage}` that is called with "
                f"`--{option.replace('_', '-')}`. It is the pipeline of another project."
            ) from None

    @cached_property
    def _evaluation(self) -> dict[str, Any]:
        return read_evaluation(_there(self.path("evaluate", "metrics")))

    @cached_property
    def _predictions(self) -> Predictions:
        return read_predictions(_there(self.path("evaluate", "predictions")), self.classes)

    @cached_property
    def _features(self) -> Features:
        return read_features(_there(self.path("train_head", "features")))


def load_run(folder: str | os.PathLike[str] = ".") -> Run:
    r"""Open the results of the run in a project's folder; nothing else is read yet.

    Parameters
    ----------
    folder : path, default="."
        The folder with dvc.yaml, or one below it.

    Returns
    -------
    Run
        With ``metrics``, ``per_class``, ``predictions``, ``images``, ``rejected``, ``duplicates``,
        ``corrected``, ``label_issues``, ``outliers``, ``learning_curve``, ``history`` and
        ``passes`` as data frames, ``features(split)`` and ``probabilities()`` as arrays,
        ``files(rows)`` as bytes, ``drift(images)`` as a data frame, and the exported ``model``.

    Raises
    ------
    HeadstartError
        If there is no dvc.yaml.

    Examples
    --------
    >>> import headstart as hs
    >>> run = hs.load_run(".")
    >>> run.classes
    ('blue bar', 'green bar', 'red bar')
    >>> run.images["split"].value_counts().to_dict()
    {'train': 24, 'validation': 12, 'test': 12}
    >>> X, rows = run.features("train")
    >>> len(X) == len(rows)
    True
    >>> run.files(run.images.head(1))[0][:4]
    b'\x89PNG'
    """
    start = Path(folder).absolute()
    for candidate in (start, *start.parents):
        if (candidate / "dvc.yaml").is_file():
            return Run(candidate)
    raise HeadstartError(
        f"There is no dvc.yaml in {start} or above it, so there is no run to load. Name the "
        "folder of a project."
    )


def _options(path: Path) -> dict[str, dict[str, str]]:
    """Return the options of every stage's command, by stage."""
    document = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    return {
        name: {
            flag.removeprefix("--").replace("-", "_"): value
            for flag, value in pairwise(shlex.split(str(entry.get("cmd", ""))))
            if flag.startswith("--")
        }
        for name, entry in (document.get("stages") or {}).items()
    }


def _there(path: Path) -> Path:
    if not path.exists():
        raise HeadstartError(
            f"There is no {path}. Run the pipeline first (`dvc repro`), or restore what was "
            "recorded (`dvc checkout`)."
        )
    return path
