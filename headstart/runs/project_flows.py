"""The project's own flows, by name: the library runs them without importing them."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def project_flow(name: str) -> Any:
    """Return the flow ``name`` of the project's module ``flows.name``; a slow import."""
    return getattr(import_module(f"flows.{name}"), name)
