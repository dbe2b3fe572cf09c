"""The pages of an export: README, model card, labels, and the summary for the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from headstart._utils.files import write_json, write_text
from headstart._utils.tables import columns, plain, spelled
from headstart.datasets.correction_counts import describe_corrections
from headstart.datasets.manifests import SPLITS
from headstart.evaluation.metrics import listed
from headstart.export.formats import FORMATS, ordered
from headstart.export.record import ExportedModel, write_class_names

_MOST_CLASSES = 200
_REFUSED_SHOWN = 20


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
        Of :func:`headstart.export.card.card`.
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
        corrections=describe_corrections(content["data"].get("corrections", {})),
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
