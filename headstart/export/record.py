"""``model.json`` of an export folder: what the model is, and the sha256 of every form of it.

Whoever uses an exported model reads this first: classes, side of the images, which formats there
are. :func:`format_path` gives the file of one of them, after comparing it with its sha256. Nothing
is ever unpickled, and no path is taken from the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from headstart._utils.errors import CorruptFileError, HeadstartError
from headstart._utils.files import sha256_file, write_json
from headstart.backbones.record import BackboneSummary
from headstart.export.formats import FORMATS, FormatName

FORMAT = 1
RECORD = "model.json"
_MAX_RECORD_BYTES = 64 << 20
_AGAIN = "Export the model again (`dvc repro export`), or copy the folder again, whole."

_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Share = Annotated[float, Field(ge=0, le=1)]


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class FormatParity(_Record):
    """How closely a form agreed with the evaluated model, loaded again in a process of its own.

    Attributes
    ----------
    images : int
        Test images that were compared.
    probability_differs_at_most : float
        A bound of the largest difference of a probability.
    same_first_guess : int
        Images on which the most probable class was the same.
    """

    images: Annotated[int, Field(ge=1)]
    probability_differs_at_most: _Share
    same_first_guess: Annotated[int, Field(ge=0)]


class ExportedFormat(_Record):
    """A form that was written.

    Attributes
    ----------
    files : mapping of str to str
        Path below the export folder to the file's sha256.
    bytes : int
        Of all of them.
    parity : mapping of str to FormatParity
        For each way in: ``pixels``, and for the SavedModel also ``encoded``.
    """

    files: Annotated[Mapping[str, _Sha256], Field(min_length=1)]
    bytes: Annotated[int, Field(ge=1)]
    parity: Mapping[Literal["pixels", "encoded"], FormatParity]


class ExportedModel(_Record):
    """What an export folder holds.

    Attributes
    ----------
    kind : "head" | "fine_tuned"
    classes : tuple of str
        Sorted; the order of the outputs.
    image_size : int
        Side of the square that pixels must have, in pixels.
    activation : "softmax" | "sigmoid"
        softmax: the probabilities of an image sum to 1; sigmoid: each class by itself.
    pixels : str
        How images became pixels in training (:data:`headstart.images.resize.SPEC`).
    backbone : BackboneSummary
    license : str
        Of the backbone's weights, in words.
    formats : mapping of str to ExportedFormat
        By the names of :data:`headstart.export.formats.FORMATS`; those that were written.
    """

    kind: Literal["head", "fine_tuned"]
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    image_size: Annotated[int, Field(ge=1)]
    activation: Literal["softmax", "sigmoid"]
    pixels: str
    backbone: BackboneSummary
    license: str
    formats: Annotated[Mapping[FormatName, ExportedFormat], Field(min_length=1)]

    @field_validator("classes")
    @classmethod
    def _are_sorted(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        if list(classes) != sorted(set(classes)) or "" in classes:
            raise ValueError("the class names must be sorted, distinct and not empty")
        return classes

    @field_validator("formats")
    @classmethod
    def _are_of_their_place(
        cls, formats: Mapping[FormatName, ExportedFormat]
    ) -> Mapping[FormatName, ExportedFormat]:
        for name, form in formats.items():
            for file in form.files:
                if not _belongs(file, FORMATS[name].path):
                    raise ValueError(f"{file!r} is no file of the format {name}")
        return formats


class _File(ExportedModel):
    format: Literal[1]


def format_files(folder: Path, name: FormatName) -> dict[str, str]:
    """Path below ``folder`` to sha256, of the files that are there of a form."""
    return {file: sha256_file(folder / file) for file in _there(folder, name)}


def format_bytes(folder: Path, name: FormatName) -> int:
    """Length of the files that are there of a form, together."""
    return sum((folder / file).stat().st_size for file in _there(folder, name))


def write_exported(folder: Path, model: ExportedModel) -> None:
    """Write ``model.json`` into a folder that holds the formats already."""
    write_json(folder / RECORD, {**model.model_dump(mode="json"), "format": FORMAT})


def read_exported(folder: Path) -> ExportedModel:
    """Read and check ``model.json``; the formats themselves are not looked at.

    Raises
    ------
    HeadstartError
        If there is no such file, or it is of another format.
    CorruptFileError
        If it is damaged.
    """
    path = folder / RECORD
    if not path.is_file():
        raise HeadstartError(
            f"{folder} is no exported model: there is no {RECORD} in it. The stage `export` writes "
            "it into data/export (`dvc repro export`; `dvc checkout` brings a recorded one back)."
        )
    try:
        if path.stat().st_size > _MAX_RECORD_BYTES:
            raise CorruptFileError(f"{path} is larger than any record of a model. {_AGAIN}")
        file = _File.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CorruptFileError(f"{path} cannot be read: {error}.") from error
    except ValidationError as error:
        raise CorruptFileError(
            f"{path} is no record of format {FORMAT} of an exported model: {_sentences(error)}. "
            f"{_AGAIN}"
        ) from None
    fields: dict[str, Any] = {name: getattr(file, name) for name in ExportedModel.model_fields}
    return ExportedModel(**fields)


def format_path(folder: Path, model: ExportedModel, name: FormatName) -> Path:
    """The file or folder of a form, if it is the one that was compared before it was kept.

    Raises
    ------
    HeadstartError
        If the form was not exported.
    CorruptFileError
        If a file of it is absent, changed, or not of this export.
    """
    if name not in model.formats:
        raise HeadstartError(
            f"The format {name} was not exported to {folder}; there are: "
            f"{', '.join(sorted(model.formats))}. Add it to export.formats in params.yaml and run "
            "`dvc repro export`."
        )
    wanted = model.formats[name].files
    there = set(_there(folder, name))
    if there != set(wanted):
        odd = min(there ^ set(wanted))
        fault = "is absent" if odd in wanted else "does not belong to this export"
        raise CorruptFileError(f"{folder / odd} {fault}: {RECORD} says otherwise. {_AGAIN}")
    for file, digest in sorted(wanted.items()):
        if sha256_file(folder / file) != digest:
            raise CorruptFileError(
                f"{folder / file} is not the file that was exported: its sha256 is not the one in "
                f"{RECORD}. It was changed or damaged, and was not loaded. {_AGAIN}"
            )
    return folder / FORMATS[name].path


def _there(folder: Path, name: FormatName) -> list[str]:
    """The files of a form, as sorted paths below the folder."""
    top = folder / FORMATS[name].path
    found = [top] if top.is_file() else [path for path in top.rglob("*") if path.is_file()]
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _belongs(file: str, place: str) -> bool:
    path = PurePosixPath(file)
    return path.parts[:1] == (place,) and ".." not in path.parts and path.as_posix() == file


def _sentences(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(str(part) for part in fault['loc']) or 'the record'}: {fault['msg']}"
        for fault in error.errors()[:5]
    )
