"""Sections of params.yaml for tests, made of a few values."""

from __future__ import annotations

from typing import Any

from headstart.images.augmentation_parameters import AugmentParams


def augment(**changes: Any) -> AugmentParams:
    """No change of an image but those that are named."""
    values: dict[str, Any] = {
        "rotation": 0.0,
        "width_shift": 0.0,
        "height_shift": 0.0,
        "shear": 0.0,
        "zoom": 0.0,
        "horizontal_flip": False,
        "vertical_flip": False,
        "brightness": 0.0,
        "contrast": 0.0,
        **changes,
    }
    return AugmentParams(**values)
