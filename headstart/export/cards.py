"""The pages of an export: README, model card, labels, and the summary for the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import ConfigDict, Field

from headstart._utils.errors import CorruptFileError
from headstart._utils.files import write_json, write_text
from headstart._utils.records import Facts, read_facts
from headstart._utils.tables import columns, plain, spelled
from headstart.backbones.record import BackboneRecord
from headstart.datasets.manifests import SPLITS
from headstart.evaluation.metrics import listed
from headstart.export.formats import FORMATS, ordered
from headstart.export.record import ExportedModel, activation_of, license_of, write_class_names
from headstart.stage.sections import Section
from headstart.training.model_folder import ModelRecord

FORMAT = 1
_DIGITS = 4  # of a metric
_MOST_CLASSES = 200
_OF_THE_BACKBONE = {
    "alpha", "weights", "weights_sha256", "origin", "random_weights", "image_size", "cut", "pooling"
}  # fmt: skip
_REFUSED_SHOWN = 20
_COMMIT = (
    "Not inside: the commit records this folder, so the folder cannot name it. `sha256sum "
    "model.json` prints a number that data/metrics/export.json holds as `model_sha256`; in the "
    "project, `git log --oneline -S NUMBER -- data/metrics/export.json` names the commit."
)


class _Counts(Facts):
    model_config = ConfigDict(extra="ignore")  # the card states these alone
    files: Annotated[int, Field(ge=0)]
    kept: Annotated[int, Field(ge=0)]
    duplicates: Annotated[int, Field(ge=0)]
    label_conflicts: Annotated[int, Field(ge=0)]
    rejected: Annotated[int, Field(ge=0)]
    rejected_by_reason: dict[str, int]


def read_counts(path: Path) -> dict[str, Any]:
    """Read the counts of the files found, kept and rejected.

    Raises
    ------
    CorruptFileError
        If one is absent, or they do not add up.
    """
    again = "`dvc repro --force --single-item download` writes it again."
    counts = read_facts(path, _Counts, again)
    reasons = sum(counts["rejected_by_reason"].values())
    if counts["files"] != counts["kept"] + counts["rejected"] or counts["rejected"] != reasons:
        raise CorruptFileError(
            f"{path} does not add up: {counts['files']:,} files, {counts['kept']:,} kept, "
            f"{counts['rejected']:,} rejected, {reasons:,} of them by a reason. {again}"
        )
    return counts


@dataclass(frozen=True)
class Data:
    """The data that the model was made of, and its evaluation.

    Attributes
    ----------
    table : DataFrame
        The manifest of the images in use, with ``split`` and ``label``.
    download : mapping
        ``data/metrics/download.json``: the files found, kept and rejected.
    evaluation : mapping
        ``data/metrics/evaluate.json``.
    """

    table: pd.DataFrame
    download: Mapping[str, Any]
    evaluation: Mapping[str, Any]


def procedure(seed: int, sections: Mapping[str, Section]) -> dict[str, Any]:
    """Return the parameters that the card states, without those that had no effect."""
    values: dict[str, Any] = {name: section.model_dump() for name, section in sections.items()}
    named = ("source", "url", "sha256", "name")
    values["download"] = {name: values["download"][name] for name in named}
    if not values["extract_features"]["views"]:
        del values["extract_features"]["augment"]
    if not values["fine_tune"]["epochs"]:
        values["fine_tune"] = {"epochs": 0}
    return {"seed": seed, **values}


def card(
    record: ModelRecord,
    backbone: BackboneRecord,
    data: Data,
    procedure: Mapping[str, Any],
    summary: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the content of ``model_card.json``.

    Parameters
    ----------
    record : ModelRecord
    backbone : BackboneRecord
    data : Data
    procedure : mapping
        Parameters by section.
    summary : mapping
        The export's own metrics.
    """
    evaluation = data.evaluation
    return {
        "format": FORMAT,
        "classes": list(record.classes),
        "model": _model(record, backbone),
        "data": _images(data),
        "procedure": dict(procedure),
        "results": {
            "test_images": evaluation["test_images"],
            **_metrics(evaluation["model"]),
            "per_class": [
                {key: _round(value) for key, value in row.items()}
                for row in evaluation["model"]["per_class"]
            ],
            **({} if record.kind == "head" else {"head_only": _metrics(evaluation["head"])}),
        },
        "formats": summary["formats"],
        "parity_images": summary["images"],
        "intended_use": _intended_use(record),
        "limits": _limits(record, evaluation["test_images"]),
        "commit": _COMMIT,
    }


def _model(record: ModelRecord, backbone: BackboneRecord) -> dict[str, Any]:
    return {
        **backbone.model_dump(include=_OF_THE_BACKBONE),
        "kind": record.kind,
        "backbone": backbone.name,
        "license": license_of(backbone),
        "parameters_of_the_backbone": backbone.parameters,
        "head": list(record.head),
        "trained_from_layer": record.unfrozen_from,
        "trained_that_layer_alone": record.unfrozen_alone,
        "chosen_because": record.chosen_because,
    }


def _images(data: Data) -> dict[str, Any]:
    used: dict[str, dict[str, int]] = {}
    for split, part in data.table.groupby("split"):
        counts = part["label"].value_counts()
        used[str(split)] = {str(label): int(count) for label, count in counts.items()}
    return {**data.download, "images": used}


def _metrics(recorded: Mapping[str, Any]) -> dict[str, Any]:
    keys = ["correct", "accuracy_low", "accuracy_high"]
    keys += ["top_k"] if "top_k" in recorded else []
    keys += [metric.key for metric in listed("card", recorded)]
    return {key: _round(recorded[key]) for key in keys}


def _round(value: Any) -> Any:
    return round(value, _DIGITS) if isinstance(value, float) else value


def _intended_use(record: ModelRecord) -> list[str]:
    purpose = (
        f"Distinguishing {len(record.classes)} classes in images like the training images: the "
        "same kinds of objects, cameras, framing and light."
    )
    return [
        purpose,
        "A first suggestion that a person or another check confirms, wherever a mistake matters.",
    ]


def _limits(record: ModelRecord, images: int) -> list[str]:
    outputs = (
        "Each class has a probability of its own; none of them, or several, may be high."
        if activation_of(record) == "sigmoid"
        else "It always predicts one of its classes, even for an image that shows none of them."
    )
    metrics = (
        f"Its metrics come from {images} test images of the same source as the training images. "
        "The interval covers chance in the choice of these images, not other kinds of images."
    )
    untested = (
        "It has not learned what the training images lack or show one-sidedly. Nothing was "
        "measured for subgroups of a class, for deliberate deception, or for changes over time."
    )
    backbone = (
        "Others trained the backbone on images that were not examined here, and it may carry over "
        "their biases."
    )
    return [outputs, metrics, untested, backbone]


def write_pages(
    folder: Path,
    model: ExportedModel,
    summary: Mapping[str, Any],
    content: Mapping[str, Any],
    not_covered: Sequence[str],
) -> None:
    """Write the class names, the README and the model card.

    Parameters
    ----------
    folder : Path
    model : ExportedModel
    summary : mapping
        The export's own metrics.
    content : mapping
        Of :func:`card`.
    not_covered : sequence of str
        Sentences without a full stop: how the SavedModel's decoder differs from training.
    """
    write_class_names(folder, model.classes)
    write_text(folder / "README.md", readme(model, summary, not_covered))
    write_json(folder / "model_card.json", content)
    write_text(folder / "MODEL_CARD.md", markdown(content, summary))


def readme(model: ExportedModel, summary: Mapping[str, Any], not_covered: Sequence[str]) -> str:
    """Return the README in Markdown: what was compared, and an example for each format."""
    return _render(
        "README.md.j2",
        model=model,
        formats={name: FORMATS[name] for name in ordered(model.formats)},
        summary=summary,
        comparisons=comparisons(summary),
        not_covered=not_covered,
    )


def markdown(content: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """Return the model card in Markdown."""
    return _render(
        "MODEL_CARD.md.j2",
        card=content,
        training=_training(content["model"]),
        splits=[split for split in SPLITS if split in content["data"]["images"]],
        metrics=listed("card", content["results"]),
        parameters=list(_parameters(content["procedure"])),
        comparisons=comparisons(summary),
        most_classes=_MOST_CLASSES,
    )


def _training(model: Mapping[str, Any]) -> str:
    if model["kind"] != "fine_tuned":
        return "a head on the frozen backbone"
    layer = f"the layer `{model['trained_from_layer']}`"
    return (
        f"fine-tuned in {layer} only"
        if model["trained_that_layer_alone"]
        else (f"fine-tuned from {layer} up")
    )


def _parameters(procedure: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for section, values in procedure.items():
        if isinstance(values, Mapping):
            for name, value in values.items():
                yield f"{section}.{name}", _shown(value)
        else:
            yield section, _shown(values)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        changed = {name: item for name, item in value.items() if item}
        return ", ".join(f"{name} {spelled(item)}" for name, item in changed.items()) or "none"
    return spelled(value)


class _Raw(str):
    """Text that a template shows unescaped."""

    __slots__ = ()


@cache
def _environment() -> Environment:
    # Every other text is escaped: class names and origins can hold any text.
    made = Environment(  # noqa: S701 - HTML's escapes are the wrong ones
        loader=PackageLoader("headstart.export"),
        undefined=StrictUndefined,
        finalize=lambda value: escaped(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    made.filters["raw"] = _Raw
    return made


def _render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values).rstrip() + "\n"


# An underscore inside a word is not markup and stays, so that addresses remain intact.
_MARKUP = re.compile(r"([\\`*{}\[\]<>#|~&!]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")


def escaped(value: str) -> str:
    """Return any text as Markdown that shows it literally."""
    printable = "".join(each if each.isprintable() else " " for each in value)
    return _MARKUP.sub(r"\\\1", printable)


def comparisons(summary: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Return title, size in MB and comparison for each input of each format."""
    rows = []
    for name in ordered(summary["formats"]):
        found, title = summary["formats"][name], FORMATS[name].title
        rows.append((title, f"{found['bytes'] / 1e6:.2f}", found["pixels"]))
        if "encoded" in found:
            rows.append((f"{title}, from encoded images", "", found["encoded"]))
    return rows


def describe(summary: Mapping[str, Any], refused: Mapping[str, str]) -> str:
    """Return the export's metrics for the terminal.

    Parameters
    ----------
    summary : mapping
        The metrics.
    refused : mapping of str to str
        Path of each image that the SavedModel refused, and why.
    """
    rounded = "rounding" in summary
    against = "the head on unrounded features" if rounded else "the evaluated predictions"
    lines = [f"Exported, each format reloaded in a fresh process and compared with {against}:"]
    rows = [("format", "MB", "largest difference", "same first guess")]
    rows += [
        (title, size, f"≤ {found['probability_differs_at_most']:g}", _same(found))
        for title, size, found in comparisons(summary)
    ]
    lines += [f"  {line}" for line in columns(rows, "lrrr").splitlines()]
    lines += [f"Left out: {name}: {reason}" for name, reason in summary["left_out"].items()]
    if rounded:
        found = summary["rounding"]
        lines.append(
            "With features rounded to float16, as evaluated, a probability differs by at most "
            f"{found['probability_differs_at_most']:g}; same first guess on {_same(found)}."
        )
    return "\n".join([*lines, *_refusals(refused, summary["images"])])


def _same(found: Mapping[str, Any]) -> str:
    return f"{found['same_first_guess']} of {found['images']}"


def _refusals(refused: Mapping[str, str], images: int) -> list[str]:
    if not refused:
        return []
    lines = [f"The SavedModel refuses {len(refused)} of {images} images that training read:"]
    shown = list(refused.items())[:_REFUSED_SHOWN]
    lines += [f"  {plain(path)}: {plain(reason)}" for path, reason in shown]
    more = len(refused) - len(shown)
    return [*lines, f"  and {more} more"] if more else lines
