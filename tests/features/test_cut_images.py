"""Images that need more bits than the parameter says are counted and named."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from headstart.datasets.manifests import SPLIT, SPLITS, frame
from headstart.features.cut_images import CutImages
from headstart.features.folder import read_features
from headstart.features.forward_passes import Engine
from headstart.features.split_features import extract_splits
from headstart.images.resize import pixels
from headstart.stage.parameters import read_params
from tests.conftest import ROOT
from tests.images import made as make
from tests.training.models import backbone


def deep(largest: int) -> bytes:
    values = np.linspace(0, largest, 400).reshape(20, 20).astype(np.uint16)
    return make.encoded(Image.fromarray(values), "PNG")


CONTENTS = {
    "a/12.png": deep(4095), "a/14.png": deep(9000), "b/13.png": deep(5000),
    "b/8.png": make.encoded(make.noise().convert("L"), "PNG"), "b/x.jpg": make.jpeg(),
}  # fmt: skip
IDS = {path: hashlib.sha256(content).hexdigest() for path, content in CONTENTS.items()}
ROWS = pd.DataFrame({"path": list(IDS), "image_id": list(IDS.values())})


def warned(bits: int | None, *paths: str) -> str:
    cut = CutImages()
    for path in paths or CONTENTS:
        got = cut(CONTENTS[path], 20, gray16_bits=bits)
        assert np.array_equal(got, pixels(CONTENTS[path], 20, gray16_bits=bits))
    return cut.warning(ROWS, bits)


def test_they_are_named_with_the_bits_that_suffice() -> None:
    said = warned(12)
    assert "Warning: 2 images need up to 14 bits, and `backbone.gray16_bits` is 12" in said
    assert "the values above 4,095 are white." in said
    assert "set `backbone.gray16_bits: 14` and run again: a/14.png, b/13.png." in said
    assert "1 image needs up to 13 bits" in warned(12, "b/13.png", "a/12.png")
    assert warned(14) == ""  # what the message says to do
    assert warned(None) == ""


def test_all_16_bits_are_had_without_the_parameter() -> None:
    cut = CutImages()
    content = deep(65535)
    cut(content, 20, gray16_bits=12)
    rows = pd.DataFrame({"path": ["=x\n.png"], "image_id": [hashlib.sha256(content).hexdigest()]})
    said = cut.warning(rows, 12)
    assert "remove the parameter (`backbone.gray16_bits: null`) and run again: =x" in said
    assert "\n" not in said


@pytest.mark.parametrize("decoders", [0, 2])
def test_the_stage_that_decodes_them_warns_and_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    decoders: int,
) -> None:  # fmt: skip
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "store"))
    by_id = {IDS[path]: content for path, content in CONTENTS.items()}
    splits = ["train", "train", "train", "validation", "test"]
    rows = [
        {
            "image_id": IDS[path], "path": path, "label": path[0], "format": "png",
            "predefined_split": "", "width": 20, "height": 20, "bytes": len(CONTENTS[path]),
            "group": "", "shard": 0, "offset": 0, "split": split,
        }
        for path, split in zip(CONTENTS, splits, strict=True)
    ]  # fmt: skip

    class Reader:
        def read(self, shard: int, offset: int, length: int, image_id: str) -> bytes:
            return by_id[image_id]

    record = backbone(image_size=20, gray16_bits=12)
    width = record.feature_shape[0]
    engine = Engine(
        lambda: (
            lambda batch: np.repeat(batch.mean(axis=(1, 2, 3))[:, None], width, axis=1).astype(
                np.float32
            )
        ),
        20,
        12,
        decoders=decoders,
    )
    extract = read_params(ROOT / "params.yaml").extract_features
    table = frame(rows, SPLIT)
    for cached in (False, True):
        noted = extract_splits(table, record, engine, Reader(), extract, 1, tmp_path / "features")
        said = capsys.readouterr().err
        assert ("2 images need up to 14 bits" in said) == (not cached)
        assert noted.get("images_above_white", 0) == (0 if cached else 2)
    features = read_features(tmp_path / "features")
    for split in SPLITS:
        names = features.rows(split)["image_id"]
        means = [pixels(by_id[name], 20, gray16_bits=12).mean(dtype=np.float64) for name in names]
        np.testing.assert_array_equal(features.array(split)[:, 0], np.array(means, np.float32))
