from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from headstart.features.estimate import missing_before_conversion
from headstart.features.extraction import fingerprint_record
from headstart.features.store import FeatureStore
from headstart.pipeline.recipes import overlay
from headstart.stage.parameters import read_params
from tests.conftest import ROOT
from tests.training import models

IDS = [f"{number:064x}" for number in range(10)]


def parameters(folder: Path, **backbone: Any) -> Any:
    values = {"name": "mobilenet_v2", "weights": "random", "image_size": 96, **backbone}
    path = folder / "params.yaml"
    path.write_text(overlay((ROOT / "params.yaml").read_text(), {"backbone": values}))
    return read_params(path)


def test_a_backbone_that_was_never_seen_needs_a_pass_for_every_image(tmp_path: Path) -> None:
    assert missing_before_conversion(IDS, (), parameters(tmp_path)) == (10, 10)


def test_a_store_that_may_be_its_own_makes_it_a_range(tmp_path: Path) -> None:
    backbone = models.backbone(feature_shape=(4,)).model_copy(
        update={"name": "mobilenet_v2", "alpha": 1.0, "cut": None, "pooling": "avg"}
        | {"image_size": 96, "preprocessing": "tf", "weights_sha256": "a" * 64}
    )
    with FeatureStore(fingerprint_record(backbone, "litert"), (4,)) as store:
        store.put_many([(key, np.zeros(4, np.float32)) for key in IDS[:7]], seconds=1.0)
    assert missing_before_conversion(IDS, (), parameters(tmp_path)) == (3, 10)
    assert missing_before_conversion(IDS, (), parameters(tmp_path, image_size=112)) == (10, 10)
