"""The backbone folder: the pretrained backbone as versioned files, and their record.

``backbone.weights.h5`` holds the weights of the headless, uncut backbone; a TensorFlow Hub module
has its files in ``module`` instead, and a network from a file is in ``file`` with its record.
``backbone.tflite`` goes from uint8 pixels to features, cut and pooled; it is absent with ``engine:
keras``. ``backbone.json`` is the conversion record.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from headstart._utils.errors import CorruptFileError, HeadstartError
from headstart._utils.files import sha256_tree
from headstart._utils.records import Record, read_record, write_record
from headstart.backbones.network_record import kind_of
from headstart.backbones.registry import FILE, HUB
from headstart.stage.sections import Gray16Bits

RECORD = "backbone.json"
NETWORK = "backbone.tflite"
WEIGHTS = "backbone.weights.h5"
MODULE = "module"
FILE_FOLDER = "file"
_FOLDERS = {HUB: MODULE, FILE: FILE_FOLDER}
_AGAIN = "Run the stage `backbone` again (`dvc repro --force --single-item backbone`)."


class Parity(Record):
    """The difference between the converted network and Keras.

    Attributes
    ----------
    images : int
        Real images that both were run on.
    max_difference_in_std : float
        Largest difference of a feature, in standard deviations of that feature.
    """

    images: int
    max_difference_in_std: float


class BackboneSummary(Record):
    """The fields of a backbone that the records of features and models repeat.

    Attributes
    ----------
    name, alpha, weights, image_size, cut, pooling, random_weights, gray16_bits
        As in :class:`BackboneRecord`.
    """

    name: str
    alpha: float
    weights: str
    image_size: Annotated[int, Field(ge=1)]
    cut: str | None
    pooling: Literal["avg", "max", "none"]
    random_weights: bool
    gray16_bits: Gray16Bits | None = None

    @property
    def has_layers(self) -> bool:
        """Whether it consists of Keras layers; a module, like most files, is a layer of its own."""
        return self.name != HUB and (self.name != FILE or kind_of(self.weights) == "keras")


class BackboneRecord(BackboneSummary):
    """Everything that is known of a pretrained backbone.

    Attributes
    ----------
    name, alpha
        Key of the table of backbones, ``hub`` or ``file``, and width multiplier.
    weights : str
        ``imagenet``, ``shipped``, ``random``, the name of a file, or the handle of a module.
    random_weights : bool
        No pretraining: the features hold no transfer.
    gray16_bits : int or None
        Bits of white in 16-bit gray images (:func:`headstart.images.resize.pixels`); records from
        before there was a choice have none.
    weights_sha256 : str
        Of ``backbone.weights.h5``, or of the files in ``module`` or ``file``.
    origin : str
        Where the weights came from, for people.
    license : str or None
        Of the weights of a file, as its record has it; the table of backbones has all others.
    image_size : int
        Side of the image that the backbone takes, in pixels.
    cut : str or None
        Layer whose output is used as the features; None for the last.
    pooling : str
        ``avg``, ``max`` or ``none``.
    preprocessing : str
        Scaling of the pixels before the backbone: ``tf``, ``caffe``, ``torch``, ``unit`` or
        ``none``.
    feature_shape : tuple of int
        Of one image's features.
    parameters : int
        Of the headless, uncut backbone.
    engine : str
        ``litert`` or ``keras``: the engine that extracts the features.
    tflite_sha256 : str or None
        Of ``backbone.tflite``; None with ``engine: keras``.
    parity : Parity or None
        None with ``engine: keras``.
    """

    format: Literal[1] = 1
    weights_sha256: str
    origin: str
    license: Annotated[str | None, Field(exclude_if=lambda value: value is None)] = None
    preprocessing: str
    feature_shape: tuple[Annotated[int, Field(ge=1)], ...]
    parameters: int
    engine: str
    tflite_sha256: str | None
    parity: Parity | None

    @property
    def summary(self) -> BackboneSummary:
        """The fields that features and models record."""
        return BackboneSummary(**self.model_dump(include=set(BackboneSummary.model_fields)))


def write_backbone(folder: Path, record: BackboneRecord) -> None:
    """Write ``backbone.json`` into the folder; the other files are the caller's."""
    write_record(folder / RECORD, record)


def read_backbone(folder: Path) -> BackboneRecord:
    """Read the record and check it against the files beside it.

    Raises
    ------
    HeadstartError
        If there is no record.
    CorruptFileError
        If a field is absent, unknown or mistyped, or a file is not the one that was recorded.
    """
    path = folder / RECORD
    if not path.is_file():
        raise HeadstartError(
            f"There is no {path}. The stage `backbone` writes it (`dvc repro backbone`)."
        )
    record = read_record(path, BackboneRecord, _AGAIN)
    weights = _FOLDERS.get(record.name, WEIGHTS)
    expected = {weights: record.weights_sha256, NETWORK: record.tflite_sha256}
    for name, digest in expected.items():
        if digest is None:
            continue
        if not (folder / name).exists():
            raise CorruptFileError(
                f"{folder / name} is absent, although {RECORD} names it. {_AGAIN}"
            )
        found = sha256_tree(folder / name)
        if found != digest:
            raise CorruptFileError(
                f"{folder / name} is not what {RECORD} names: sha256 {digest} expected, {found} "
                f"found. It was changed or damaged. {_AGAIN}"
            )
    return record
