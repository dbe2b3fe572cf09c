"""Nested mappings by dotted names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"packages": {"keras": "3"}}`` as ``{"packages.keras": "3"}``; lists are values."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= leaves(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found
