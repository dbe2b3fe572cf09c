"""``extract_features``: how the frozen base is run over the pictures."""

from __future__ import annotations

from typing import Literal

from stages.core.params.base import Section


class ExtractFeaturesParams(Section):
    """Engine and number format of the recorded features."""

    engine: Literal["litert", "keras"]
    dtype: Literal["float32", "float16"]
