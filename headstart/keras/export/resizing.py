"""The trained classifier at other image sizes: built with the same weights, measured, exported."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from headstart._utils.errors import HeadstartError, ParameterError, UnfitError
from headstart._utils.files import atomic_folder
from headstart._utils.machine import cores, keras_batch
from headstart._utils.progress import progress
from headstart.backbones.registry import FILE, fit_name, fit_size
from headstart.datasets.manifests import read_split
from headstart.datasets.shards import ShardReader
from headstart.evaluation.comparison import paired
from headstart.evaluation.predictions import Predictions, read_predictions
from headstart.evaluation.sizes import AtSize, Network, Pixels, durations, probabilities
from headstart.export.formats import FORMATS, FormatName
from headstart.export.parity import Agreement, choose, compare, load
from headstart.export.record import (
    describe_model,
    license_of,
    summarize_formats,
    write_class_names,
    write_exported,
)
from headstart.keras.export import export
from headstart.keras.export.export import Model
from headstart.keras.export.reload import Source

FORMAT: FormatName = "tflite_float32"
COMPARED = 32  # images that are timed, and that LiteRT is compared with Keras on


@dataclass(frozen=True)
class Evaluated:
    """A trained model, the test images that it was evaluated on, and its predictions.

    Attributes
    ----------
    trained : Model
    images : Path
        Folder of the shards.
    rows : DataFrame
        The manifest's test images.
    predictions : Predictions
    """

    trained: Model
    images: Path
    rows: pd.DataFrame
    predictions: Predictions

    @classmethod
    def read(
        cls, model: Path, backbone_folder: Path, images: Path, manifest: Path, predictions: Path
    ) -> Self:
        """Read and check the files of a run.

        Raises
        ------
        HeadstartError
            If they come from different runs.
        """
        trained = Model.read(model, backbone_folder)
        found = read_predictions(predictions, trained.record.classes)
        return cls(trained, images, evaluated_rows(manifest, found.rows, predictions), found)


@dataclass(frozen=True)
class Resized:
    """The classifier at one size.

    Attributes
    ----------
    network : Network
    file : Path or None
        The LiteRT file that runs; None if LiteRT cannot convert this backbone, so that Keras runs.
    agreement : Agreement or None
        Agreement of the file with the Keras model on the same pixels.
    """

    network: Network
    file: Path | None
    agreement: Agreement | None


@dataclass(frozen=True)
class Measured:
    """Measurements at several sizes, the trained one first.

    Attributes
    ----------
    rows : list of AtSize
    resized : mapping of int to Resized
    same : int
        Images whose first guess at the trained size is the evaluated one.
    """

    rows: list[AtSize]
    resized: Mapping[int, Resized]
    same: int


def evaluated_rows(manifest: Path, evaluated: pd.DataFrame, predictions: Path) -> pd.DataFrame:
    """Return the manifest's test images, which must be the evaluated ones in the same order."""
    images = read_split(manifest)
    test = images[images["split"] == "test"].reset_index(drop=True)
    keys = ["image_id", "label"]
    if not test[keys].equals(evaluated[keys].reset_index(drop=True)):
        raise HeadstartError(
            f"{predictions} does not match the test images in {manifest}: they come from "
            "different runs. Run `dvc repro` to update both."
        )
    return test


def check_sizes(trained: Model, sizes: Sequence[int]) -> None:
    """Refuse sizes that the classifier cannot have.

    Raises
    ------
    ParameterError
        If a size is below the backbone's minimum.
    HeadstartError
        If the head reads a map.
    """
    backbone = trained.backbone
    if len(backbone.feature_shape) > 1:
        height, width, channels = backbone.feature_shape
        raise HeadstartError(
            f"This model works only at {backbone.image_size} pixels. Its backbone is not pooled "
            f"(`backbone.pooling: none`): the head has a weight for each location of a map of "
            f"{height} × {width} × {channels}, whose shape depends on the image size. Set "
            "`backbone.pooling` to avg and train again, or train at the other size "
            f"(`backbone.image_size: {sizes[0]}`)."
        )
    if backbone.name == FILE:
        raise HeadstartError(
            f"This model works only at {backbone.image_size} pixels, which the record of its "
            f"backbone's file ({backbone.weights}) states. Import the network at another size."
        )
    known = fit_name(backbone.name)
    for size in sizes:
        try:
            fit_size(known, size)
        except UnfitError as error:
            raise ParameterError(error.sentence("SIZE", str(size))) from None


def measure(evaluated: Evaluated, sizes: Sequence[int], folder: Path, most: float) -> Measured:
    """Run the classifier on the test images at the trained size and at others.

    Parameters
    ----------
    evaluated : Evaluated
    sizes : sequence of int
    folder : Path
        Folder for the converted files.
    most : float
        The largest difference of a probability between LiteRT and Keras that is accepted.

    Raises
    ------
    HeadstartError
        If the classifier cannot be built at a size, or is converted to another one.
    """
    trained, rows = evaluated.trained, evaluated.rows
    first = trained.backbone.image_size
    some = rows.iloc[choose(len(rows), COMPARED)]
    resized = {}
    # All are built before any is measured, so that a refused size costs no time.
    for size in dict.fromkeys([first, *sizes]):
        place = folder / str(size)
        place.mkdir()
        contents, shown = load(evaluated.images, some, size, trained.backbone.gray16_bits)
        resized[size] = build(trained, size, shown, place, most)
    found = {}
    with ShardReader(evaluated.images) as reader:
        for size, each in resized.items():
            with progress(len(rows), f"At {size} pixels", "image") as bar:
                found[size] = probabilities(each.network, rows, reader, bar)
    took = durations([each.network for each in resized.values()], contents)
    classes = np.array(trained.record.classes)
    guesses = {size: rows.assign(predicted=classes[each.argmax(axis=1)])
               for size, each in found.items()}  # fmt: skip
    measured = [
        AtSize(
            size,
            int((frame["predicted"] == frame["label"]).sum()),
            len(rows),
            took[size],
            None if size == first else paired(guesses[first], frame),
        )
        for size, frame in guesses.items()
    ]
    return Measured(measured, resized, compare(evaluated.predictions.model, found[first]).same)


def build(trained: Model, size: int, shown: Pixels, folder: Path, most: float) -> Resized:
    """Return the classifier for images of another size.

    Parameters
    ----------
    trained : Model
    size : int
    shown : ndarray of shape (n, size, size, 3), uint8
        Images to compare LiteRT with Keras on.
    folder : Path
        Folder for the converted file.
    most : float
        The largest difference of a probability that is accepted.

    Raises
    ------
    HeadstartError
        If the backbone cannot be built at this size, or is converted to another network.
    """
    from headstart.keras.runtime import configure  # isort: skip - before anything else of TensorFlow

    configure(cores())
    from headstart.backbones.litert import LiteRTFunction, LiteRTPool
    from headstart.keras.export.keras_file import run_keras
    from headstart.keras.networks.engine import Frozen, keras_device

    try:
        model = export.build(trained, size)
    except ParameterError as error:  # A module of TensorFlow Hub with a fixed size.
        raise HeadstartError(f"This backbone cannot be built at {size} pixels. {error}") from error
    file, bits = folder / FORMATS[FORMAT].path, trained.backbone.gray16_bits
    try:
        export.write(FORMAT, Source(model), folder)
    except export.NotConvertibleError:
        if not export.may_lack(FORMAT, trained.backbone):
            raise
        batch = keras_batch(keras_device())
        function = Frozen(model, batch)
        return Resized(Network(size, bits, function, function, batch, 2), None, None)
    pool, single = LiteRTPool(file), LiteRTFunction(file)
    agreement = compare(run_keras(model, shown), single(shown))
    if not agreement.difference <= most:
        raise HeadstartError(
            f"At {size} pixels, the converted network differs from the Keras model: on "
            f"{agreement.images} test images, a probability differs by {agreement.difference:.3g}; "
            f"export.max_probability_difference is {most:g}. Nothing was measured."
        )
    return Resized(Network(size, bits, pool, single, 1, pool.count), file, agreement)


def check_target(target: Path) -> None:
    """Refuse a folder that exists and is not empty."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise HeadstartError(
            f"{target} exists already and was left unchanged. Name another folder, or remove it."
        )


def write_resized(target: Path, trained: Model, made: Resized) -> None:
    """Write an export folder of the classifier at its size, for `predict` and `serve-model`.

    Raises
    ------
    HeadstartError
        If the folder exists and is not empty, or LiteRT cannot run this backbone.
    """
    check_target(target)
    size = made.network.size
    if made.file is None or made.agreement is None:
        raise HeadstartError(
            "LiteRT cannot convert this backbone, so nothing was written. Train at this size: "
            f"`backbone.image_size: {size}`."
        )
    summary = trained.record.backbone.model_copy(update={"image_size": size})
    record = trained.record.model_copy(update={"backbone": summary})
    with atomic_folder(target) as folder:
        shutil.copyfile(made.file, folder / FORMATS[FORMAT].path)
        formats = summarize_formats(folder, {FORMAT: {"pixels": made.agreement}})
        exported = describe_model(record, license_of(trained.backbone), folder, formats)
        write_exported(folder, exported)
        write_class_names(folder, exported.classes)
