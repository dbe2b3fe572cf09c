"""What an export says of itself at the terminal, and the small files beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headstart._utils.tables import columns, plain
from headstart.backbones.record import BackboneRecord
from headstart.backbones.registry import BACKBONES
from headstart.export.formats import FORMATS

_SHOWN = 20


def describe(summary: Mapping[str, Any], refused: Mapping[str, str]) -> str:
    """The metrics as a table, and what was not done.

    Parameters
    ----------
    summary : mapping
        The metrics.
    refused : mapping of str to str
        Path of each image that the SavedModel refused, and why.
    """
    rounded = "rounding" in summary
    against = "the head on unrounded features" if rounded else "the evaluated predictions"
    lines = [f"Exported, each form reloaded in a fresh process and compared with {against}:"]
    rows = [("form", "MB", "largest difference", "same first guess")]
    rows += [
        (title, size, f"≤ {found['probability_differs_at_most']:g}", _same(found))
        for title, size, found in comparisons(summary)
    ]
    lines += [f"  {line}" for line in columns(rows, "lrrr").splitlines()]
    lines += [f"Left out: {name}: {reason}" for name, reason in summary["left_out"].items()]
    if rounded:
        found = summary["rounding"]
        lines.append(
            "From features rounded to float16, as evaluated, a probability differs by at most "
            f"{found['probability_differs_at_most']:g}; same first guess on {_same(found)}."
        )
    return "\n".join([*lines, *_refusals(refused, summary["images"])])


def comparisons(summary: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Title, size in MB and comparison of each way into each form."""
    rows = []
    for name, form in FORMATS.items():
        if name not in summary["formats"]:
            continue
        found = summary["formats"][name]
        rows.append((form.title, f"{found['bytes'] / 1e6:.2f}", found["pixels"]))
        if "encoded" in found:
            rows.append((f"{form.title}, from encoded images", "", found["encoded"]))
    return rows


def _same(found: Mapping[str, Any]) -> str:
    return f"{found['same_first_guess']} of {found['images']}"


def _refusals(refused: Mapping[str, str], images: int) -> list[str]:
    if not refused:
        return []
    lines = [f"The SavedModel refuses {len(refused)} of {images} images that training took:"]
    shown = list(refused.items())[:_SHOWN]
    lines += [f"  {plain(path)}: {plain(reason)}" for path, reason in shown]
    more = len(refused) - len(shown)
    return [*lines, f"  and {more} more"] if more else lines


def labels_text(classes: Sequence[str]) -> str:
    """A class name a line; line breaks within a name become blanks (labels.json is exact)."""
    return "".join(" ".join(name.splitlines()) + "\n" for name in classes)


def license_of(backbone: BackboneRecord) -> str:
    """The license of the backbone's weights, in words."""
    known = BACKBONES.get(backbone.name)
    if known is None or backbone.weights not in {"imagenet", "shipped"}:
        return "not known here; they did not come with the project"
    return known.license or "not stated by its authors"
