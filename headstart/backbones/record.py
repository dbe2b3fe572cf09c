"""The backbone folder: the pretrained backbone as versioned files, and their record.

``backbone.weights.h5`` holds the weights of the headless, uncut backbone; a TensorFlow Hub module
has its files in ``module`` instead. ``backbone.tflite`` goes from uint8 pixels to features, cut and
pooled; it is absent with ``engine: keras``. ``backbone.json`` is the conversion record.
"""

from __future__ import annotations

import types
import typing
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from headstart._utils.errors import CorruptFileError, HeadstartError
from headstart._utils.files import read_json, sha256_tree, write_json
from headstart.backbones.registry import HUB

FORMAT = 1
RECORD = "backbone.json"
NETWORK = "backbone.tflite"
WEIGHTS = "backbone.weights.h5"
MODULE = "module"


@dataclass(frozen=True)
class Parity:
    """How far the converted network is from Keras.

    Attributes
    ----------
    images : int
        Real images that both were run on.
    max_difference_in_std : float
        Largest difference of a feature, in standard deviations of that feature.
    """

    images: int
    max_difference_in_std: float


class BackboneSummary(BaseModel):
    """What features and models record of the backbone that they rest on.

    Attributes
    ----------
    name, alpha, weights, image_size, cut, pooling, random_weights
        As in :class:`BackboneRecord`.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    name: str
    alpha: float
    weights: str
    image_size: Annotated[int, Field(ge=1)]
    cut: str | None
    pooling: Literal["avg", "max", "none"]
    random_weights: bool


@dataclass(frozen=True)
class BackboneRecord:
    """Everything that is to be known of a pretrained backbone.

    Attributes
    ----------
    name, alpha
        Key of the table of backbones, or ``hub``, and width multiplier.
    weights : str
        ``imagenet``, ``shipped``, ``random``, the name of a file, or the handle of a module.
    random_weights : bool
        No pretraining: the features hold no transfer.
    weights_sha256 : str
        Of ``backbone.weights.h5``, or of the files in ``module``.
    origin : str
        Where the weights came from, for people.
    image_size : int
        Side of the image that the backbone takes, in pixels.
    cut : str or None
        Layer whose output the features are; None for the last.
    pooling : str
        ``avg``, ``max`` or ``none``.
    preprocessing : str
        What pixels go through before the backbone: ``tf``, ``caffe``, ``torch``, ``unit`` or
        ``none``.
    feature_shape : tuple of int
        Of one image's features.
    parameters : int
        Of the headless, uncut backbone.
    engine : str
        ``litert`` or ``keras``: what extracts the features.
    tflite_sha256 : str or None
        Of ``backbone.tflite``; None with ``engine: keras``.
    parity : Parity or None
        None with ``engine: keras``.
    """

    name: str
    alpha: float
    weights: str
    random_weights: bool
    weights_sha256: str
    origin: str
    image_size: int
    cut: str | None
    pooling: str
    preprocessing: str
    feature_shape: tuple[int, ...]
    parameters: int
    engine: str
    tflite_sha256: str | None
    parity: Parity | None

    @property
    def summary(self) -> BackboneSummary:
        """The fields that features and models record."""
        fields = {name: getattr(self, name) for name in BackboneSummary.model_fields}
        return BackboneSummary.model_validate(fields)


def write_backbone(folder: Path, record: BackboneRecord) -> None:
    """Write ``backbone.json`` into the folder; the other files are the caller's."""
    write_json(
        folder / RECORD,
        {"format": FORMAT, **asdict(record), "feature_shape": list(record.feature_shape)},
    )


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
    try:
        content = read_json(path)
    except ValueError as error:
        raise CorruptFileError(f"{path} is not JSON: {error}. {_AGAIN}") from error
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise CorruptFileError(f"{path}: expected a record of format {FORMAT}. {_AGAIN}")
    record = _record(content, path)
    weights = MODULE if record.name == HUB else WEIGHTS
    expected = {weights: record.weights_sha256, NETWORK: record.tflite_sha256}
    for name, digest in expected.items():
        if digest is not None:
            _check_file(folder / name, digest)
    return record


_AGAIN = "Run the stage `backbone` again (`dvc repro --force --single-item backbone`)."


def _record(content: dict[str, Any], path: Path) -> BackboneRecord:
    hints = typing.get_type_hints(BackboneRecord)
    names = [field.name for field in fields(BackboneRecord)]
    if set(content) != set(names):
        absent, unknown = sorted(set(names) - set(content)), sorted(set(content) - set(names))
        raise CorruptFileError(f"{path}: absent: {absent}, unknown: {unknown}. {_AGAIN}")
    if isinstance(content["parity"], dict):
        try:
            content["parity"] = Parity(**content["parity"])
        except TypeError as error:
            raise CorruptFileError(f"{path}: parity: {error}. {_AGAIN}") from error
    if isinstance(content["feature_shape"], list):
        content["feature_shape"] = tuple(content["feature_shape"])
    for name in names:
        if not _fits(content[name], hints[name]):
            raise CorruptFileError(
                f"{path}: `{name}` must be {_words(hints[name])}. Got {content[name]!r} instead. "
                f"{_AGAIN}"
            )
    return BackboneRecord(**content)


def _fits(value: Any, hint: Any) -> bool:
    if isinstance(hint, types.UnionType):
        return any(_fits(value, branch) for branch in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(type(side) is int and side > 0 for side in value)
    if hint is float:
        return type(value) in {int, float}
    # `type`, not isinstance: True is no number.
    return type(value) is hint


def _words(hint: Any) -> str:
    return str(hint) if typing.get_args(hint) else str(hint.__name__)


def _check_file(path: Path, digest: str) -> None:
    if not path.exists():
        raise CorruptFileError(f"{path} is absent, although {RECORD} names it. {_AGAIN}")
    got = sha256_tree(path)
    if got != digest:
        raise CorruptFileError(
            f"{path} is not what {RECORD} names: sha256 {digest} expected, {got} found. "
            f"It was changed or damaged. {_AGAIN}"
        )
