"""The card of an exported model: what it was made of, how, how well it does, what it is not for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from headstart._utils.tables import spelled
from headstart.backbones.record import BackboneRecord
from headstart.export.metrics import activation_of
from headstart.export.readme import RANDOM, parity_table
from headstart.export.summary import license_of
from headstart.training.model_folder import ModelRecord

FORMAT = 1
#: Digits of a score: the last bits belong to the CPU.
_DIGITS = 4
_MOST_CLASSES = 200
_SCORES = (
    "accuracy", "accuracy_low", "accuracy_high", "macro_f1", "loss",
    "expected_calibration_error", "top_k", "top_k_accuracy", "right",
)  # fmt: skip


@dataclass(frozen=True)
class Data:
    """What the model was made of, and how well it does.

    Attributes
    ----------
    table : DataFrame
        The manifest of the images in use, with ``split`` and ``label``.
    intake : mapping
        ``data/metrics/download.json``: what was found, kept and rejected.
    evaluation : mapping
        ``data/metrics/evaluate.json``.
    """

    table: pd.DataFrame
    intake: Mapping[str, Any]
    evaluation: Mapping[str, Any]


def card(
    record: ModelRecord,
    backbone: BackboneRecord,
    data: Data,
    procedure: Mapping[str, Any],
    summary: Mapping[str, Any],
) -> dict[str, Any]:
    """All that the card says, as JSON values.

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
            **_rounded(evaluation["model"]),
            "per_class": [
                {key: _round(value) for key, value in row.items()}
                for row in evaluation["model"]["per_class"]
            ],
            "head_alone": _rounded(evaluation["head"]),
        },
        "formats": summary["formats"],
        "parity_images": summary["images"],
        "intended_use": _use(record),
        "limits": _limits(record, evaluation["test_images"]),
        "commit": _COMMIT,
    }


_COMMIT = (
    "Not inside: the commit records this folder, so the folder cannot name it. `sha256sum "
    "model.json` prints a number that data/metrics/export.json holds as `model_sha256`; in the "
    "project, `git log --oneline -S NUMBER -- data/metrics/export.json` names the commit."
)


def _model(record: ModelRecord, backbone: BackboneRecord) -> dict[str, Any]:
    return {
        "kind": record.kind,
        "backbone": backbone.name,
        "alpha": backbone.alpha,
        "weights": backbone.weights,
        "weights_sha256": backbone.weights_sha256,
        "origin": backbone.origin,
        "license": license_of(backbone),
        "random_weights": backbone.random_weights,
        "image_size": backbone.image_size,
        "cut": backbone.cut,
        "pooling": backbone.pooling,
        "parameters_of_the_backbone": backbone.parameters,
        "head": list(record.head),
        "trained_from_layer": record.unfrozen_from,
        "trained_that_layer_alone": record.unfrozen_alone,
        "chosen_because": record.chosen_because,
    }


def _images(data: Data) -> dict[str, Any]:
    kept = ("files", "kept", "duplicates", "label_conflicts", "rejected", "rejected_by_reason")
    used: dict[str, dict[str, int]] = {}
    for split, part in data.table.groupby("split"):
        counts = part["label"].value_counts()
        used[str(split)] = {str(label): int(count) for label, count in counts.items()}
    return {**{name: data.intake[name] for name in kept}, "images": used}


def _rounded(scores: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _round(scores[name]) for name in _SCORES if name in scores}


def _round(value: Any) -> Any:
    return round(value, _DIGITS) if isinstance(value, float) else value


def _use(record: ModelRecord) -> list[str]:
    what = (
        f"Telling {len(record.classes)} classes apart in images like those that it was trained "
        "on: the same kinds of objects, cameras, framing and light."
    )
    how = (
        "A first suggestion that a person or another check confirms, wherever a mistake costs "
        "something."
    )
    return [what, how]


def _limits(record: ModelRecord, images: int) -> list[str]:
    always = (
        "Each class has a probability of its own; none, or several, may be high."
        if activation_of(record) == "sigmoid"
        else "It always names one of its classes, also for an image that shows none of them."
    )
    scores = (
        f"Its scores rest on {images} test images of the same source as the training images; "
        "the interval says how far chance may have moved them, not how it does on other images."
    )
    untested = (
        "What the training images lack or show one-sidedly, it has not learned; nothing was "
        "measured for subgroups of a class, for deliberate deception, or for a change over time."
    )
    base = (
        "The backbone was trained by others on images that were not examined here, whose biases it "
        "may carry."
    )
    return [always, scores, untested, base]


def markdown(content: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """The card as a page; class names are shown as text, whatever they hold."""
    model, data, results = content["model"], content["data"], content["results"]
    base = f"{model['backbone']}, width {model['alpha']:g}, {model['image_size']} pixels"
    how = "a head on the frozen backbone"
    if model["kind"] == "fine_tuned":
        layer = f"the layer `{model['trained_from_layer']}`"
        alone = model["trained_that_layer_alone"]
        how = f"fine-tuned in {layer} alone" if alone else f"fine-tuned from {layer} up"
    title = f"""# Model card
{RANDOM if model["random_weights"] else ""}
{len(content["classes"])} classes; {how}. Base: {base}; weights: {text(str(model["weights"]))}
({text(str(model["origin"]))}).

License of the backbone's weights: {text(model["license"])}.
"""
    found = (
        f"{data['files']:,} files were found, {data['kept']:,} kept, {data['rejected']:,} "
        f"rejected{_reasons(data['rejected_by_reason'])}.\n"
    )
    formats = (
        "Each was loaded again in a fresh process and compared with the evaluated model on "
        f"{content['parity_images']} test images.\n\n{parity_table(summary)}\n"
    )
    because = model["chosen_because"]
    parts = [
        title,
        "## Intended use\n",
        _list(content["intended_use"]),
        "## Limits\n",
        _list(content["limits"]),
        "## Data\n",
        found,
        "\n".join(_counts(data["images"], content["classes"])) + "\n",
        "## Results\n",
        "\n".join(_results(results)) + "\n",
        "## Procedure\n",
        f"The weights were chosen so: {text(because)}.\n",
        "\n".join(_procedure(content["procedure"])) + "\n",
        "## Exported formats\n",
        formats,
        "## Which commit made it\n",
        f"{content['commit']}\n",
    ]
    return "\n".join(parts)


# An underscore within a word is none, and stays, so that addresses remain ones.
_MARKUP = re.compile(r"([\\`*{}\[\]<>#|~&!]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")


def text(value: str) -> str:
    """A stranger's text as Markdown that shows it and does nothing else."""
    printable = "".join(each if each.isprintable() else " " for each in value)
    return _MARKUP.sub(r"\\\1", printable)


def _list(sentences: Sequence[str]) -> str:
    return "".join(f"- {sentence}\n" for sentence in sentences)


def _reasons(reasons: Mapping[str, int]) -> str:
    said = ", ".join(f"{name} {count:,}" for name, count in sorted(reasons.items()))
    return f" ({said})" if said else ""


def _counts(images: Mapping[str, Mapping[str, int]], classes: Sequence[str]) -> Iterator[str]:
    splits = [split for split in ("train", "validation", "test") if split in images]
    yield f"| class | {' | '.join(splits)} |"
    yield f"|---|{'---:|' * len(splits)}"
    for name in classes[:_MOST_CLASSES]:
        row = " | ".join(f"{images[split].get(name, 0):,}" for split in splits)
        yield f"| {text(name)} | {row} |"
    if len(classes) > _MOST_CLASSES:
        yield f"| {len(classes) - _MOST_CLASSES} more (model_card.json) |{' |' * len(splits)}"
    yield f"| all | {' | '.join(f'{sum(images[split].values()):,}' for split in splits)} |"


def _results(results: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"On {results['test_images']:,} test images, which no choice was made on: accuracy "
        f"{results['accuracy']:.4f} (95 % interval {results['accuracy_low']:.4f} to "
        f"{results['accuracy_high']:.4f}), macro F1 {results['macro_f1']:.4f}, loss "
        f"{results['loss']:.4f}, expected calibration error "
        f"{results['expected_calibration_error']:.4f}."
    )
    yield ""
    yield "| class | precision | recall | F1 | test images |"
    yield "|---|---:|---:|---:|---:|"
    for row in results["per_class"][:_MOST_CLASSES]:
        shown = " | ".join(f"{row[name]:.3f}" for name in ("precision", "recall", "f1"))
        yield f"| {text(row['label'])} | {shown} | {row['support']} |"


def _procedure(procedure: Mapping[str, Any]) -> Iterator[str]:
    yield "| parameter | value |"
    yield "|---|---|"
    for section, values in procedure.items():
        if not isinstance(values, Mapping):
            yield f"| {section} | {text(_shown(values))} |"
            continue
        for name, value in values.items():
            yield f"| {section}.{name} | {text(_shown(value))} |"


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        changed = {name: item for name, item in value.items() if item}
        return ", ".join(f"{name} {item}" for name, item in changed.items()) or "none"
    return spelled(value)
