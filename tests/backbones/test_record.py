"""The record of the backbone folder: round trip, and what a damaged folder is answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart._utils.errors import CorruptFileError, HeadstartError
from headstart._utils.files import sha256_bytes
from headstart.backbones.record import (
    NETWORK,
    RECORD,
    WEIGHTS,
    BackboneRecord,
    Parity,
    read_backbone,
    write_backbone,
)
from tests.training import models


def record_of(folder: Path, **changes: Any) -> BackboneRecord:
    (folder / WEIGHTS).write_bytes(b"weights")
    (folder / NETWORK).write_bytes(b"network")
    digests = {
        "weights_sha256": sha256_bytes(b"weights"),
        "tflite_sha256": sha256_bytes(b"network"),
    }
    return models.backbone(**{**digests, **changes})


@given(
    alpha=st.floats(min_value=0.1, max_value=2),
    cut=st.none() | st.text(min_size=1),
    shape=st.lists(st.integers(1, 4096), min_size=1, max_size=3).map(tuple),
    difference=st.floats(min_value=0, max_value=1),
    origin=st.text(),
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    alpha: float,
    cut: str | None,
    shape: tuple[int, ...],
    difference: float,
    origin: str,
) -> None:
    folder = tmp_path_factory.mktemp("backbone")
    record = record_of(
        folder,
        alpha=alpha,
        cut=cut,
        feature_shape=shape,
        parity=Parity(images=16, max_difference_in_std=difference),
        origin=origin,
    )
    write_backbone(folder, record)
    assert read_backbone(folder) == record


def test_keras_engine_needs_no_network(tmp_path: Path) -> None:
    record = record_of(tmp_path, engine="keras", tflite_sha256=None, parity=None)
    (tmp_path / NETWORK).unlink()
    write_backbone(tmp_path, record)
    assert read_backbone(tmp_path) == record


def test_absent_folder(tmp_path: Path) -> None:
    with pytest.raises(HeadstartError, match="dvc repro backbone"):
        read_backbone(tmp_path / "none")


@pytest.mark.parametrize("name", [WEIGHTS, NETWORK])
def test_a_changed_file_is_named(tmp_path: Path, name: str) -> None:
    write_backbone(tmp_path, record_of(tmp_path))
    (tmp_path / name).write_bytes(b"other")
    with pytest.raises(CorruptFileError, match=name):
        read_backbone(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(CorruptFileError, match="absent"):
        read_backbone(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("alpha", "wide"),
        ("random_weights", 1),
        ("image_size", True),
        ("feature_shape", [4, "4"]),
        ("parity", {"images": 16}),
        ("format", 2),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, field: str, value: Any) -> None:
    write_backbone(tmp_path, record_of(tmp_path))
    content = json.loads((tmp_path / RECORD).read_text())
    (tmp_path / RECORD).write_text(json.dumps({**content, field: value}))
    with pytest.raises(CorruptFileError, match=field):
        read_backbone(tmp_path)


def test_absent_and_unknown_fields(tmp_path: Path) -> None:
    write_backbone(tmp_path, record_of(tmp_path))
    content = json.loads((tmp_path / RECORD).read_text())
    del content["alpha"]
    (tmp_path / RECORD).write_text(json.dumps({**content, "beta": 1}))
    with pytest.raises(CorruptFileError, match="alpha: Field required; beta: Extra inputs"):
        read_backbone(tmp_path)
    (tmp_path / RECORD).write_text("{")
    with pytest.raises(CorruptFileError, match="JSON"):
        read_backbone(tmp_path)


def test_a_record_from_before_the_bits_of_gray_has_none(tmp_path: Path) -> None:
    write_backbone(tmp_path, record_of(tmp_path))
    path = tmp_path / RECORD
    document = json.loads(path.read_text())
    assert document.pop("gray16_bits") is None
    path.write_text(json.dumps(document))
    assert read_backbone(tmp_path).gray16_bits is None
    path.write_text(json.dumps({**document, "gray16_bits": 16}))
    with pytest.raises(CorruptFileError, match="gray16_bits"):
        read_backbone(tmp_path)
