"""``model.json`` of an export folder: a description of the model, with the sha256 of every file.

Every user of an exported model reads this first: classes, image size, and the formats that are
there. :func:`format_path` returns the file of one of them, after comparing it with its sha256.
Nothing is ever unpickled, and no path is taken from the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from headstart._utils.errors import CorruptFileError, HeadstartError
from headstart._utils.files import sha256_file, write_text
from headstart._utils.records import Record, Sha256, read_record, write_record
from headstart.backbones.record import BackboneRecord, BackboneSummary
from headstart.backbones.registry import BACKBONES
from headstart.export.formats import FORMATS, FormatName, ordered
from headstart.export.parity import Agreement
from headstart.images.resize import spec
from headstart.training.head import output_activation
from headstart.training.labels import write_labels
from headstart.training.model_folder import ModelRecord

RECORD = "model.json"
_AGAIN = "Export the model again (`dvc repro export`), or copy the complete folder again."

_Share = Annotated[float, Field(ge=0, le=1)]


class FormatParity(Record):
    """The agreement of a format, loaded by a fresh process, with the evaluated model.

    Attributes
    ----------
    images : int
        Test images that were compared.
    probability_differs_at_most : float
        A bound of the largest difference of a probability.
    same_first_guess : int
        Images with the same most probable class.
    """

    images: Annotated[int, Field(ge=1)]
    probability_differs_at_most: _Share
    same_first_guess: Annotated[int, Field(ge=0)]


class ExportedFormat(Record):
    """A format that was written.

    Attributes
    ----------
    files : mapping of str to str
        Path below the export folder to the file's sha256.
    bytes : int
        Of all of them.
    parity : mapping of str to FormatParity
        For each input: ``pixels``, and for the SavedModel also ``encoded``.
    """

    files: Annotated[Mapping[str, Sha256], Field(min_length=1)]
    bytes: Annotated[int, Field(ge=1)]
    parity: Mapping[Literal["pixels", "encoded"], FormatParity]


class ExportedModel(Record):
    """The contents of an export folder.

    Attributes
    ----------
    kind : "head" | "fine_tuned"
    classes : tuple of str
        Sorted, in the order of the outputs.
    image_size : int
        Side of the square that pixels must have, in pixels.
    activation : "softmax" | "sigmoid"
        softmax: the probabilities of an image sum to 1; sigmoid: each class has its own.
    pixels : str
        The conversion of images to pixels in training (:func:`headstart.images.resize.spec`).
    backbone : BackboneSummary
    license : str
        Of the backbone's weights, in words.
    formats : mapping of str to ExportedFormat
        By the names of :data:`headstart.export.formats.FORMATS`; those that were written.
    """

    format: Literal[1] = 1
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
        for name, exported in formats.items():
            for file in exported.files:
                if not _belongs(file, FORMATS[name].path):
                    raise ValueError(f"{file!r} is not a file of the format {name}")
        return formats


def format_files(folder: Path, name: FormatName) -> dict[str, str]:
    """Return path below ``folder`` to sha256 of the files of a format."""
    return {file: sha256_file(folder / file) for file in _there(folder, name)}


def format_bytes(folder: Path, name: FormatName) -> int:
    """Return the total size of the files of a format."""
    return sum((folder / file).stat().st_size for file in _there(folder, name))


def write_exported(folder: Path, model: ExportedModel) -> None:
    """Write ``model.json`` into a folder that already holds the formats."""
    write_record(folder / RECORD, model)


def read_exported(folder: Path) -> ExportedModel:
    """Read and check ``model.json``; the formats themselves are not checked.

    Raises
    ------
    HeadstartError
        If there is no such file, or it has another format.
    CorruptFileError
        If it is damaged.
    """
    path = folder / RECORD
    if not path.is_file():
        raise HeadstartError(
            f"{folder} is not an exported model: it has no {RECORD}. The stage `export` writes it "
            "into data/export (`dvc repro export`; `dvc checkout` brings a recorded one back)."
        )
    return read_record(path, ExportedModel, _AGAIN)


def format_path(folder: Path, model: ExportedModel, name: FormatName) -> Path:
    """Return the file or folder of a format, if it is the one that was compared and kept.

    Raises
    ------
    HeadstartError
        If the format was not exported.
    CorruptFileError
        If a file of it is absent, changed, or from another export.
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
    """Return the files of a format, as sorted paths below the folder."""
    top = folder / FORMATS[name].path
    found = [top] if top.is_file() else [path for path in top.rglob("*") if path.is_file()]
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _belongs(file: str, place: str) -> bool:
    path = PurePosixPath(file)
    return path.parts[:1] == (place,) and ".." not in path.parts and path.as_posix() == file


def activation_of(record: ModelRecord) -> Literal["softmax", "sigmoid"]:
    """Return `sigmoid` if each class has a probability of its own, `softmax` if they sum to 1.

    A single sigmoid output that tells two classes apart gives both, which sum to 1.
    """
    single = record.head[-1]["units"] < len(record.classes)
    return "softmax" if single or output_activation(record.head) == "softmax" else "sigmoid"


def license_of(backbone: BackboneRecord) -> str:
    """Return the license of the backbone's weights, in words."""
    if backbone.license is not None:
        return backbone.license
    known = BACKBONES.get(backbone.name)
    if known is None or backbone.weights not in {"imagenet", "shipped"}:
        return "not known here; they did not come with the project"
    return known.license or "not stated by its authors"


def summarize_formats(
    folder: Path, found: Mapping[FormatName, Mapping[str, Agreement]]
) -> dict[str, dict[str, Any]]:
    """Return the size of each format, and its agreement for each input."""
    return {
        name: {
            "bytes": format_bytes(folder, name),
            **{way: agreement.summary() for way, agreement in ways.items()},
        }
        for name, ways in found.items()
    }


def describe_model(
    record: ModelRecord, license_text: str, folder: Path, formats: Mapping[str, Mapping[str, Any]]
) -> ExportedModel:
    """Return the record of an export folder.

    Parameters
    ----------
    record : ModelRecord
    license_text : str
        Of the backbone's weights.
    folder : Path
        The export folder.
    formats : mapping
        Of :func:`summarize_formats`.
    """
    written = {
        name: ExportedFormat(
            files=format_files(folder, name),
            bytes=formats[name]["bytes"],
            parity={
                way: FormatParity(
                    **{key: formats[name][way][key] for key in FormatParity.model_fields}
                )
                for way in FORMATS[name].inputs
            },
        )
        for name in ordered(formats)
    }
    return ExportedModel(
        kind=record.kind,
        classes=record.classes,
        image_size=record.backbone.image_size,
        activation=activation_of(record),
        pixels=spec(record.backbone.gray16_bits),
        backbone=record.backbone,
        license=license_text,
        formats=written,
    )


def write_class_names(folder: Path, classes: Sequence[str]) -> None:
    """Write ``labels.json``, and ``labels.txt`` with a line per class (labels.json is exact)."""
    write_labels(folder / "labels.json", classes)
    lines = (" ".join(name.splitlines()) + "\n" for name in classes)
    write_text(folder / "labels.txt", "".join(lines))
