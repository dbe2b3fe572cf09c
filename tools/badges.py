"""Draw the README's badges from pyproject.toml and the recorded run."""

from __future__ import annotations

import json
import tomllib
from html import escape
from typing import Any

from packaging.specifiers import SpecifierSet

from tools.contract import ROOT

#: Width of a character in an 11-pixel sans-serif, roughly; ``textLength`` makes it exact.
_CHARACTER = 6.0
_PAD = 6
_GRAY, _BLUE, _GREEN = "#505a66", "#1c5fb8", "#1d7a46"


def python_badge() -> str:
    """Return the badge of the Python versions that pyproject.toml allows."""
    allowed = SpecifierSet(_project()["requires-python"])
    versions = [f"3.{minor}" for minor in range(30) if f"3.{minor}" in allowed]
    return badge("Python", " | ".join(versions), _BLUE)


def license_badge() -> str:
    """Return the badge of the license."""
    return badge("license", _project()["license"], _BLUE)


def accuracy_badge() -> str:
    """Return the badge of the recorded run's accuracy with its 95 % interval.

    The scores are those of the run that git keeps, so that a badge cannot say more than it.
    """
    scores = json.loads((ROOT / "data/metrics/evaluate.json").read_text())["model"]
    accuracy, low, high = (
        f"{100 * scores[key]:.1f}" for key in ("accuracy", "accuracy_low", "accuracy_high")
    )
    return badge("test accuracy of the default run", f"{accuracy} % ({low} to {high})", _GREEN)


def _project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def badge(name: str, value: str, color: str) -> str:
    """Return a badge as SVG: a name on gray, and a value on a color."""
    left, right = (round(_CHARACTER * len(text)) + 2 * _PAD for text in (name, value))
    texts = "".join(
        f'<text x="{start + _PAD}" y="14" textLength="{width - 2 * _PAD}">{escape(text)}</text>'
        for start, width, text in ((0, left, name), (left, right, value))
    )
    title = escape(f"{name}: {value}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" '
        f'aria-label="{title}"><title>{title}</title>'
        f'<clipPath id="r"><rect width="{left + right}" height="20" rx="4"/></clipPath>'
        f'<g clip-path="url(#r)"><rect width="{left}" height="20" fill="{_GRAY}"/>'
        f'<rect x="{left}" width="{right}" height="20" fill="{color}"/></g>'
        f'<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">{texts}</g>'
        "</svg>\n"
    )
