"""What `headstart sizes` asks of the trained model: its weights behind images of any size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart._utils.errors import HeadstartError, ParameterError, UnfitError
from headstart.export.formats import FORMATS, FormatName

if TYPE_CHECKING:
    import pandas as pd

    from headstart.evaluation.sizes import Network, Pixels
    from headstart.export.parity import Agreement
    from headstart.keras.export.export import Model

FORM: FormatName = "tflite_float32"


@dataclass(frozen=True)
class Resized:
    """The classifier at one size.

    Attributes
    ----------
    network : Network
    file : Path or None
        The LiteRT file that runs; None: LiteRT cannot convert this backbone, Keras runs.
    agreement : Agreement or None
        Of the file with the Keras model that it was made of, on the same pixels.
    """

    network: Network
    file: Path | None
    agreement: Agreement | None


def check_sizes(trained: Model, sizes: Sequence[int]) -> None:
    """Refuse sizes at which the classifier cannot be.

    Raises
    ------
    ParameterError
        If the backbone leaves nothing of so small an image.
    HeadstartError
        If the head reads a map.
    """
    from headstart.backbones.registry import fit_name, fit_size

    base = trained.backbone
    if len(base.feature_shape) > 1:
        height, width, channels = base.feature_shape
        raise HeadstartError(
            f"This model works at {base.image_size} pixels alone. Its base is not pooled "
            f"(`backbone.pooling: none`): the head has a weight for each place of a map of "
            f"{height} × {width} × {channels}, which another size would change. Set "
            "`backbone.pooling` to avg and train again, or train at the other size "
            f"(`backbone.image_size: {sizes[0]}`)."
        )
    known = fit_name(base.name)
    for size in sizes:
        try:
            fit_size(known, size)
        except UnfitError as error:
            raise ParameterError(error.sentence("SIZE", str(size))) from None


def resized(trained: Model, size: int, shown: Pixels, folder: Path, most: float) -> Resized:
    """The classifier for images of another size, and how it agrees with Keras.

    Parameters
    ----------
    trained : Model
    size : int
    shown : ndarray of shape (n, size, size, 3), uint8
        Images to compare on.
    folder : Path
        Where its file is written.
    most : float
        Difference of a probability that is accepted.

    Raises
    ------
    HeadstartError
        If the backbone cannot be rebuilt at this size, or the converted network is another one.
    """
    from headstart._utils.machine import cores
    from headstart.backbones.litert import LiteRTFunction, LiteRTPool
    from headstart.evaluation.sizes import Network
    from headstart.export.parity import compare
    from headstart.keras.export.export import may_lack
    from headstart.training.model_folder import read_head
    from headstart.keras.runtime import configure  # isort: skip - before anything else of TensorFlow

    configure(cores())
    from headstart.keras.export import model as model_io
    from headstart.keras.export import writers

    record = trained.record
    try:
        model: Any = model_io.classifier(
            replace(trained.backbone, image_size=size),
            trained.backbone_folder,
            trained.tuned_folder,
            record.head,
            read_head(trained.folder, record),
        )
    except ParameterError as error:  # A module of TensorFlow Hub that names its size.
        raise HeadstartError(f"This base cannot be built at {size} pixels. {error}") from error
    file = folder / FORMATS[FORM].path
    try:
        writers.write(FORM, writers.Source(model, record.classes, None), folder)
    except writers.NotConvertibleError:
        if not may_lack(FORM, trained.backbone):
            raise
        return Resized(_by_keras(model, size), None, None)
    pool, single = LiteRTPool(file), LiteRTFunction(file)
    agreement = compare(model_io.run_keras(model, shown), single(shown))
    if not agreement.difference <= most:
        raise HeadstartError(
            f"At {size} pixels the network that LiteRT runs is not the Keras model: on "
            f"{agreement.images} test images a probability differs by "
            f"{agreement.difference:.3g}; export.max_probability_difference is {most:g}. Nothing "
            "was measured."
        )
    return Resized(Network(size, pool, single, 1, pool.count), file, agreement)


def _by_keras(model: Any, size: int) -> Network:
    from headstart._utils.machine import keras_batch
    from headstart.evaluation.sizes import Network
    from headstart.keras.networks.engine import Frozen, keras_device

    batch = keras_batch(keras_device())
    function = Frozen(model, batch)
    return Network(size, function, function, batch, 2)


def write(target: Path, trained: Model, made: Resized) -> None:
    """An export folder of the classifier at its size, for `predict` and `serve-model`.

    Raises
    ------
    HeadstartError
        If something lies there, or LiteRT cannot run this backbone.
    """
    import shutil

    from headstart._utils.files import atomic_folder, write_text
    from headstart.export.metrics import describe_model, summarize_formats
    from headstart.export.record import write_exported
    from headstart.export.summary import labels_text, license_of
    from headstart.training.labels import write_labels

    check_target(target)
    if made.file is None or made.agreement is None:
        raise HeadstartError(
            "LiteRT cannot convert this backbone, so nothing was written. Train at this size: "
            f"`backbone.image_size: {made.network.size}`."
        )
    summary = trained.record.backbone.model_copy(update={"image_size": made.network.size})
    record = trained.record.model_copy(update={"backbone": summary})
    with atomic_folder(target) as folder:
        shutil.copyfile(made.file, folder / FORMATS[FORM].path)
        formats = summarize_formats(folder, {FORM: {"pixels": made.agreement}})
        exported = describe_model(record, license_of(trained.backbone), folder, formats)
        write_exported(folder, exported)
        write_labels(folder / "labels.json", exported.classes)
        write_text(folder / "labels.txt", labels_text(exported.classes))


def check_target(target: Path) -> None:
    """Refuse a folder in which something lies."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise HeadstartError(
            f"{target} exists already, and was left as it is. Name another folder, or remove it."
        )


def evaluated_rows(manifest: Path, evaluated: pd.DataFrame, predictions: Path) -> pd.DataFrame:
    """The manifest's test images, which must be those that were evaluated, in their order."""
    from headstart.datasets.manifests import read_split

    images = read_split(manifest)
    test = images[images["split"] == "test"].reset_index(drop=True)
    keys = ["image_id", "label"]
    if not test[keys].equals(evaluated[keys].reset_index(drop=True)):
        raise HeadstartError(
            f"{predictions} is not of the test images in {manifest}: they come from different "
            "runs. `dvc repro` brings them together."
        )
    return test
