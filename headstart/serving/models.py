"""Models as functions on pixels: an exported classifier, its features, a network of ImageNet.

LiteRT runs an exported model without TensorFlow, in as many threads as there are cores. Without
a LiteRT file, the SavedModel's signature for pixels runs. Only the Keras formats keep separate
layers, so features come from those. Images are decoded by
:mod:`headstart.images.resize` in every case, so that a model sees its training's pixels.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import CorruptFileError, HeadstartError, ParameterError, UnfitError
from headstart._utils.machine import cores, keras_batch
from headstart.backbones.registry import BACKBONES, BackboneSpec, known
from headstart.export.formats import FORMATS, FormatName, LayeredFormat, RunnableFormat
from headstart.export.record import ExportedModel, format_path, read_exported

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

RUNNABLE: tuple[RunnableFormat, ...] = get_args(RunnableFormat)
LAYERED: tuple[LayeredFormat, ...] = get_args(LayeredFormat)
#: The value of ``--weights`` for Keras' own.
IMAGENET = "imagenet"
# Images per call of TensorFlow. On a CPU, ImageNet's networks run one image at a time: batches gain
# little there, and alone, the result of an image does not depend on its neighbors.
_TENSORFLOW_BATCH = 32


@dataclass(frozen=True)
class Model:
    """A loaded model; several threads may call it at once.

    Attributes
    ----------
    size : int
        Side of the images in pixels.
    gray16_bits : int or None
        Bits of white in 16-bit gray images (:func:`headstart.images.resize.pixels`).
    shape : tuple of int
        Shape of one image's output.
    run : callable
        uint8 (n, size, size, 3) to float32 (n, *shape).
    batch : int
        Images that a call should have; 1 if more gain nothing.
    calls : int
        Calls that run at the same time.
    origin : str
        The model as an error message names it.
    cure : str
        The next step if an output is not finite.
    """

    size: int
    gray16_bits: int | None
    shape: tuple[int, ...]
    run: Callable[[Pixels], Floats]
    batch: int
    calls: int
    origin: str
    cure: str

    def __call__(self, pixels: Pixels, /) -> Floats:
        """Return the outputs of n images.

        Parameters
        ----------
        pixels : ndarray of shape (n, size, size, 3), uint8

        Returns
        -------
        ndarray of shape (n, *shape), float32

        Raises
        ------
        CorruptFileError
            If the output has another shape or is not finite.
        """
        found = self.run(pixels)
        if found.shape != (len(pixels), *self.shape) or not np.isfinite(found).all():
            raise CorruptFileError(
                f"{self.origin} did not give finite numbers of shape {self.shape} for each image "
                f"(got an array of shape {found.shape}). {self.cure}"
            )
        return found


@dataclass(frozen=True)
class Classifier(Model):
    """A loaded model that gives probabilities.

    Attributes
    ----------
    classes : tuple of str
        Classes in the order of the probabilities.
    synsets : tuple of str
        WordNet's numbers of ImageNet's classes, two of whose names are equal; empty for an exported
        model.
    format : str
        The export format that runs; "" for ImageNet.
    record : ExportedModel or None
        The record of an exported model.
    """

    classes: tuple[str, ...]
    synsets: tuple[str, ...] = ()
    format: str = ""
    record: ExportedModel | None = None


_EXPORT_AGAIN = (
    "The file is not the model that its record describes: export it again (`dvc repro export`)."
)


def load_classifier(folder: Path, chosen: FormatName | None = None) -> Classifier:
    """Load the model of an export folder.

    Parameters
    ----------
    folder : Path
        With a ``model.json``.
    chosen : str, optional
        One of :data:`RUNNABLE`; by default the first of them that was exported.

    Raises
    ------
    HeadstartError
        If there is no model, or no format that can run.
    CorruptFileError
        If a file is damaged; then it is not loaded.
    """
    record = read_exported(folder)
    name = chosen or next((name for name in RUNNABLE if name in record.formats), None)
    if name is None:
        raise HeadstartError(
            f"None of the export formats in {folder} can run here: there are "
            f"{', '.join(sorted(record.formats))}; this command runs {', '.join(RUNNABLE)}. Add "
            "one to export.formats in params.yaml and run `dvc repro export`."
        )
    path = format_path(folder, record, name)
    if FORMATS[name].library == "litert":
        from headstart.backbones.litert import LiteRTPool

        run: Any = LiteRTPool(path)
        batch, calls = 1, run.count
    else:
        from headstart.keras.runtime import configure  # isort: skip - before TensorFlow's rest

        configure(cores())
        from headstart.keras.export import saved_model as exported

        run = partial(exported.run_pixels, exported.load_saved_model(path))
        # TensorFlow uses all cores for one call; a second call decodes images meanwhile.
        batch, calls = _TENSORFLOW_BATCH, 2
    return Classifier(
        size=record.image_size,
        gray16_bits=record.backbone.gray16_bits,
        shape=(len(record.classes),),
        run=lambda pixels: np.asarray(run(pixels), np.float32),
        batch=batch,
        calls=calls,
        origin=f"The export format {name}",
        cure=_EXPORT_AGAIN,
        classes=record.classes,
        format=name,
        record=record,
    )


def load_features(
    folder: Path, chosen: LayeredFormat | None = None, layer: str | None = None
) -> Model:
    """Load the model of an export folder, cut where its features are.

    Parameters
    ----------
    folder : Path
        With a ``model.json``.
    chosen : str, optional
        One of :data:`LAYERED`; by default the first of them that was exported.
    layer : str, optional
        The layer whose output to return; by default the layer that the head reads.

    Raises
    ------
    HeadstartError
        If there is no model, no format with layers, or no such layer.
    CorruptFileError
        If a file is not the one that was exported; then it is not loaded.
    """
    record = read_exported(folder)
    name = chosen or next((name for name in LAYERED if name in record.formats), None)
    if name is None:
        raise HeadstartError(_no_layers(folder, record))
    path = format_path(folder, record, name)
    from headstart.keras.runtime import configure  # isort: skip - before anything else of TensorFlow

    configure(cores())
    from headstart.keras.export import classifier
    from headstart.keras.networks.engine import keras_device

    batch = keras_batch(keras_device())
    function: Any = classifier.load_features(path, layer, batch)
    return Model(
        size=record.image_size,
        gray16_bits=record.backbone.gray16_bits,
        shape=function.shape,
        run=function,
        batch=batch,
        calls=2,  # TensorFlow uses all cores for one; the other one decodes meanwhile.
        origin=f"The export format {name}",
        cure="The model itself is damaged: train and export it again (`dvc repro --force`).",
    )


def _no_layers(folder: Path, record: ExportedModel) -> str:
    if not record.backbone.has_layers:
        return (
            "Features come from the export format keras or h5, and this backbone fits in neither, "
            "because it is one layer of its own (a TensorFlow Hub module, or a network from a "
            "file). `data/features` holds the features of the run's own images."
        )
    return (
        "Features come from the export format keras or h5, which have separate layers; "
        f"{folder} has {', '.join(sorted(record.formats))}. Add keras to export.formats in "
        "params.yaml and run `dvc repro export`."
    )


@dataclass(frozen=True)
class Choice:
    """A network of keras.applications and its weights.

    Attributes
    ----------
    backbone : BackboneSpec
    alpha : float
    image_size : int
    weights : Path or None
        None: the weights that Keras downloads.
    """

    backbone: BackboneSpec
    alpha: float
    image_size: int
    weights: Path | None


def choose(name: str, alpha: float, image_size: int | None, weights: str) -> Choice:
    """Check the options of a network before anything is loaded.

    Parameters
    ----------
    name, alpha, weights
        Values of ``--backbone``, ``--alpha`` and ``--weights``.
    image_size : int or None
        None: the size that the network was trained on.

    Raises
    ------
    ParameterError
        With the possible values.
    """
    with_it = f"with `--backbone {name}`"
    backbone = _network(name)
    if alpha not in backbone.alphas:
        alphas = ", ".join(f"{value:g}" for value in backbone.alphas)
        one_of = "one of " if len(backbone.alphas) > 1 else ""
        raise _unfit(f"{one_of}{alphas} {with_it}", "--alpha", f"{alpha:g}")
    if image_size is not None and image_size < backbone.minimum_size:
        least = f"an integer ≥ {backbone.minimum_size} {with_it}"
        raise _unfit(least, "--image-size", str(image_size))
    path = None if weights == IMAGENET else Path(weights)
    if path is not None and path.suffix != ".h5":
        kind = f"{IMAGENET} or the path of a .weights.h5 or .h5 file"
        raise _unfit(kind, "--weights", repr(weights))
    if path is not None and not path.is_file():
        there = f"{IMAGENET} or the path of a file that exists"
        raise _unfit(there, "--weights", repr(weights))
    return Choice(backbone, alpha, image_size or backbone.default_size, path)


def _network(name: str) -> BackboneSpec:
    whole = [each for each, record in BACKBONES.items() if record.family == "keras.applications"]
    if name in whole:
        return BACKBONES[name]
    hint = "It has no classifier of ImageNet's classes. " if known(name) else ""
    near = difflib.get_close_matches(name.lower().replace("-", "_"), whole, n=3, cutoff=0.5)
    if near and not hint:
        hint = f"Did you mean {' or '.join(f'`{close}`' for close in near)}? "
    expected = f"one of the {len(whole)} networks of keras.applications"
    raise _unfit(expected, "--backbone", repr(name), f"{hint}`headstart backbones` lists them all.")


def _unfit(expected: str, option: str, got: str, hint: str = "") -> ParameterError:
    return ParameterError(UnfitError(expected, hint).sentence(option, got))


def load_imagenet(choice: Choice) -> Classifier:
    """Load a network with its classifier of ImageNet's 1000 classes.

    Weights and names are downloaded if they are missing.

    Raises
    ------
    HeadstartError
        If they cannot be obtained, or belong to another network.
    """
    from headstart.keras.networks.keras_files import read_classes

    classes = read_classes()  # Before TensorFlow, which takes seconds.
    from headstart.keras.runtime import configure, physical_gpus

    configure(cores())
    from headstart.keras.networks.engine import compiled
    from headstart.keras.networks.imagenet import build_classifier

    made = build_classifier(choice.backbone, choice.alpha, choice.image_size, choice.weights)
    gpu = bool(physical_gpus())
    return Classifier(
        size=choice.image_size,
        gray16_bits=None,
        shape=(len(classes),),
        run=compiled(made.model),
        batch=_TENSORFLOW_BATCH if gpu else 1,
        calls=2 if gpu else cores(),
        origin=f"The network with {made.origin}",
        cure="That file is damaged, or comes from a training that diverged. Use another one.",
        classes=tuple(one.name for one in classes),
        synsets=tuple(one.synset for one in classes),
    )
