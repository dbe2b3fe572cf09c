"""Measured backbones that nobody measured."""

from __future__ import annotations

import numpy as np

from headstart.features.extraction import Passes
from headstart.selection.candidates import candidates
from headstart.selection.choice import Measured, Scores
from headstart.stage.parameters import read_params
from tests.conftest import ROOT
from tests.training import models

CURRENT = read_params(ROOT / "params.yaml").backbone


def measured(
    word: str, correct: int, ms: float, mb: float = 5.0, of: int = 100, *, shifted: int = 0
) -> Measured:
    """A backbone that is right on ``correct`` images in a row, from the image ``shifted`` on."""
    (candidate,) = candidates([word], CURRENT)
    right = np.roll(np.arange(of) < correct, shifted)
    passes = Passes(of, of, 0, 1.0)
    record = models.backbone(feature_shape=(8,), parameters=1000)
    return Measured(candidate, record, passes, Scores(right, ~right), ms, mb)
