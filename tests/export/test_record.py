from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart._utils.errors import CorruptFileError, HeadstartError
from headstart.backbones.record import BackboneSummary
from headstart.export.formats import FORMATS
from headstart.export.record import (
    RECORD,
    ExportedFormat,
    ExportedModel,
    FormatParity,
    format_files,
    format_path,
    read_exported,
    write_exported,
)

BACKBONE = BackboneSummary(
    name="mobilenet_v2", alpha=0.35, weights="random", image_size=32, cut=None, pooling="avg",
    random_weights=True,
)  # fmt: skip
PARITY = FormatParity(images=12, probability_differs_at_most=1e-6, same_first_guess=12)


def model(folder: Path, **changes: Any) -> ExportedModel:
    """A folder with two formats whose files hold anything, and its record."""
    (folder / "saved_model/variables").mkdir(parents=True, exist_ok=True)
    (folder / "saved_model/saved_model.pb").write_bytes(b"graph")
    (folder / "saved_model/variables/variables.index").write_bytes(b"index")
    (folder / "model_float32.tflite").write_bytes(b"network")
    formats = {
        "saved_model": ExportedFormat(
            files=format_files(folder, "saved_model"),
            bytes=10,
            parity={"pixels": PARITY, "encoded": PARITY},
        ),
        "tflite_float32": ExportedFormat(
            files=format_files(folder, "tflite_float32"), bytes=7, parity={"pixels": PARITY}
        ),
    }
    fields: dict[str, Any] = {
        "kind": "head", "classes": ("cat", "dog"), "image_size": 32, "activation": "softmax",
        "pixels": "spec", "backbone": BACKBONE, "license": "Apache-2.0",
        "formats": formats, **changes,
    }  # fmt: skip
    return ExportedModel(**fields)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = model(tmp_path)
    write_exported(tmp_path, written)
    first = (tmp_path / RECORD).read_bytes()
    found = read_exported(tmp_path)
    assert found == written
    write_exported(tmp_path, found)
    assert (tmp_path / RECORD).read_bytes() == first
    assert format_path(tmp_path, found, "saved_model") == tmp_path / "saved_model"
    assert format_path(tmp_path, found, "tflite_float32") == tmp_path / "model_float32.tflite"


@given(names=st.sets(st.text(min_size=1), min_size=1, max_size=5))
def test_any_class_names_survive(names: set[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    printable = {name.encode("utf-8", "ignore").decode() or "x" for name in names}
    folder = tmp_path_factory.mktemp("export")
    written = model(folder, classes=tuple(sorted(printable)))
    write_exported(folder, written)
    assert read_exported(folder).classes == tuple(sorted(printable))


def test_a_format_other_than_the_compared_one_is_not_returned(tmp_path: Path) -> None:
    written = model(tmp_path)
    with pytest.raises(HeadstartError, match=r"onnx was not exported.*there are: saved_model"):
        format_path(tmp_path, written, "onnx")
    (tmp_path / "model_float32.tflite").write_bytes(b"another")
    with pytest.raises(CorruptFileError, match="not the file that was exported"):
        format_path(tmp_path, written, "tflite_float32")
    assert format_path(tmp_path, written, "saved_model")
    (tmp_path / "saved_model/extra.py").write_bytes(b"code")
    with pytest.raises(CorruptFileError, match=r"extra.py does not belong"):
        format_path(tmp_path, written, "saved_model")
    (tmp_path / "saved_model/extra.py").unlink()
    (tmp_path / "saved_model/saved_model.pb").unlink()
    with pytest.raises(CorruptFileError, match=r"saved_model.pb is absent"):
        format_path(tmp_path, written, "saved_model")


def test_a_missing_record_is_reported(tmp_path: Path) -> None:
    with pytest.raises(HeadstartError, match=r"not an exported model.*dvc repro export"):
        read_exported(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "format: "),
        ({"classes": ["dog", "cat"]}, "sorted"),
        ({"unknown": 1}, "unknown"),
        ({"image_size": 0}, "image_size"),
        ({"formats": {}}, "formats"),
        ({"formats": {"pickle": {}}}, "formats"),
    ],
)
def test_a_damaged_record_is_named(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    write_exported(tmp_path, model(tmp_path))
    content = json.loads((tmp_path / RECORD).read_text())
    (tmp_path / RECORD).write_text(json.dumps({**content, **change}))
    with pytest.raises(CorruptFileError, match=said):
        read_exported(tmp_path)


@pytest.mark.parametrize(
    "path", ["../model.onnx", "/etc/passwd", "model.keras", "saved_model/../../x", "saved_model//x"]
)
def test_no_path_leads_out_of_the_format(path: str, tmp_path: Path) -> None:
    write_exported(tmp_path, model(tmp_path))
    content = json.loads((tmp_path / RECORD).read_text())
    content["formats"]["saved_model"]["files"][path] = "0" * 64
    (tmp_path / RECORD).write_text(json.dumps(content))
    with pytest.raises(CorruptFileError, match="not a file of the format"):
        read_exported(tmp_path)


def test_every_format_has_its_own_place() -> None:
    assert len({form.path for form in FORMATS.values()}) == len(FORMATS)
    assert all("/" not in form.path for form in FORMATS.values())
