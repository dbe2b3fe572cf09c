from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from headstart._utils.errors import CorruptFileError
from headstart._utils.files import atomic_folder
from headstart.training.model_folder import (
    BACKBONE_WEIGHTS,
    LOWER,
    UPPER,
    ModelRecord,
    read_head,
    read_model,
    write_model,
)
from tests.training.models import record, weights


def save(folder: Path, of: ModelRecord, *files: str) -> Path:
    with atomic_folder(folder) as beside:
        for name in files:
            (beside / name).write_bytes(name.encode())
        write_model(beside, of, weights(of))
    return folder


@pytest.mark.parametrize(
    ("of", "files"),
    [
        (record(), ()),
        (record(kind="fine_tuned", unfrozen_from="block_15"), (BACKBONE_WEIGHTS, LOWER, UPPER)),
        (record(kind="fine_tuned", unfrozen_from="Conv1"), (BACKBONE_WEIGHTS, UPPER)),
        (
            record(kind="fine_tuned", unfrozen_from="Conv1", unfrozen_alone=True),
            (BACKBONE_WEIGHTS, LOWER, UPPER),
        ),
    ],
)
def test_a_model_is_read_as_it_was_written(
    tmp_path: Path, of: ModelRecord, files: tuple[str, ...]
) -> None:
    folder = save(tmp_path / "m", of, *files)
    assert read_model(folder) == of
    found = read_head(folder, of)
    for name, array in weights(of).items():
        assert np.array_equal(found[name], array)
    again = save(tmp_path / "again", of, *files)
    for path in folder.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()


def test_a_fine_tuned_model_without_its_networks_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"backbone\.weights\.h5, upper\.tflite missing"):
        save(tmp_path / "m", record(kind="fine_tuned", unfrozen_from="x"))
    assert not (tmp_path / "m").exists()


def test_weights_of_another_head_are_not_written(tmp_path: Path) -> None:
    tmp_path.joinpath("m").mkdir()
    with pytest.raises(ValueError, match="do not fit the head"):
        write_model(tmp_path / "m", record(), weights(record(feature_shape=(7,))))


@pytest.mark.parametrize("name", ["head.npz", "labels.json", BACKBONE_WEIGHTS, UPPER])
def test_a_changed_file_is_named(tmp_path: Path, name: str) -> None:
    folder = save(tmp_path / "m", record(kind="fine_tuned"), BACKBONE_WEIGHTS, LOWER, UPPER)
    path = folder / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(CorruptFileError, match=name.replace(".", r"\.") + " is not the file"):
        read_model(folder)


def test_a_file_too_few_or_too_many_is_an_error(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", record())
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(CorruptFileError, match=r"notes\.txt"):
        read_model(folder)
    (folder / "notes.txt").unlink()
    (folder / "head.npz").unlink()
    with pytest.raises(CorruptFileError, match=r"head\.npz"):
        read_model(folder)


def test_no_model_at_all(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match=r"model\.json cannot be read"):
        read_model(tmp_path)


SPOILED: list[tuple[dict[str, Any], str]] = [
    ({"format": 2}, "format"),
    ({"kind": "magic"}, "kind"),
    ({"classes": ["a", "b"]}, "distinguishes 3 classes, not 2"),
    ({"feature_shape": [0]}, "feature_shape"),
    ({"feature_shape": [2, 3]}, "flatten"),
    ({"head": [{"kind": "lambda"}]}, "lambda"),
    ({"head": [{"kind": "dense", "units": 3, "activation": "relu"}]}, "softmax or sigmoid"),
    ({"validation": {"loss": 0.1, "accuracy": 1.5}}, "validation.accuracy"),
    ({"surprise": 1}, "surprise"),
    ({"unfrozen_alone": True}, "unfrozen_from does not name it"),
]


@pytest.mark.parametrize(("change", "told"), SPOILED)
def test_a_spoiled_record_says_where(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    folder = save(tmp_path / "m", record())
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CorruptFileError) as error:
        read_model(folder)
    assert "model.json" in str(error.value)
    assert told in str(error.value)


def test_a_record_of_before_a_layer_could_learn_alone_is_read(tmp_path: Path) -> None:
    of = record(kind="fine_tuned", unfrozen_from="block_15")
    folder = save(tmp_path / "m", of, BACKBONE_WEIGHTS, LOWER, UPPER)
    path = folder / "model.json"
    fields = json.loads(path.read_text())
    assert fields.pop("unfrozen_alone") is False
    path.write_text(json.dumps(fields))
    assert read_model(folder) == of


def test_a_record_that_does_not_hold_together_cannot_be_made() -> None:
    with pytest.raises(ValidationError, match="3 classes, not 2"):
        record(classes=("a", "b"))
