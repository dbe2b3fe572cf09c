"""What is recorded of an export: its metrics, and the record that its users read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from headstart.export.formats import FORMATS, FormatName
from headstart.export.record import (
    ExportedFormat,
    ExportedModel,
    FormatParity,
    format_bytes,
    format_files,
)
from headstart.images.resize import SPEC
from headstart.training.head import output_activation
from headstart.training.model_folder import ModelRecord


def activation_of(record: ModelRecord) -> Literal["softmax", "sigmoid"]:
    """`sigmoid` if each class has a probability by itself, `softmax` if they sum to 1.

    A single sigmoid output that tells two classes apart gives both, which sum to 1.
    """
    single = record.head[-1]["units"] < len(record.classes)
    return "softmax" if single or output_activation(record.head) == "softmax" else "sigmoid"


class Compared(Protocol):
    """A comparison that has a summary (:class:`headstart.export.parity.Agreement`)."""

    def summary(self) -> dict[str, Any]:
        """JSON values."""


def summarize_formats(
    folder: Path, found: Mapping[FormatName, Mapping[str, Compared]]
) -> dict[str, dict[str, Any]]:
    """For each form its size, and how closely it agrees by each way in."""
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
    """The record of what lies in the folder.

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
    written: dict[FormatName, ExportedFormat] = {}
    for name, form in FORMATS.items():
        if name in formats:
            found = formats[name]
            parity = {
                way: FormatParity(**{key: found[way][key] for key in FormatParity.model_fields})
                for way in form.inputs
            }
            files = format_files(folder, name)
            written[name] = ExportedFormat(files=files, bytes=found["bytes"], parity=parity)
    return ExportedModel(
        kind=record.kind,
        classes=record.classes,
        image_size=record.backbone.image_size,
        activation=activation_of(record),
        pixels=SPEC,
        backbone=record.backbone,
        license=license_text,
        formats=written,
    )
