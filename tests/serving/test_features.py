from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from headstart._utils.errors import CorruptFileError, HeadstartError
from headstart.backbones.registry import HUB
from headstart.export.formats import FORMATS, FormatName
from headstart.export.record import write_exported
from headstart.serving.models import Model, load_features
from headstart.serving.results import feature_file, names_beside
from tests.serving import models


def exported(folder: Path, *names: FormatName) -> Path:
    """A record of formats whose files are not even of a model."""
    folder.mkdir()
    for name in names:
        (folder / FORMATS[name].path).write_bytes(name.encode())
    write_exported(folder, models.record(folder, names))
    return folder


def test_without_an_export_format_with_layers_the_message_names_one_to_add(tmp_path: Path) -> None:
    folder = exported(tmp_path / "export", "tflite_float32")
    with pytest.raises(HeadstartError, match=r"has tflite_float32\. Add keras to export\.formats"):
        load_features(folder)
    with pytest.raises(HeadstartError, match=r"format h5 was not exported"):
        load_features(folder, "h5")


def test_a_module_of_tensorflow_hub_has_no_such_form(tmp_path: Path) -> None:
    folder = exported(tmp_path / "export", "tflite_float32")
    record = models.record(folder, ("tflite_float32",))
    base = record.backbone.model_copy(update={"name": HUB})
    write_exported(folder, record.model_copy(update={"backbone": base}))
    with pytest.raises(HeadstartError, match="fits in neither"):
        load_features(folder)


def test_a_changed_file_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = exported(tmp_path / "export", "h5", "keras")
    (folder / FORMATS["keras"].path).write_bytes(b"changed")
    loaded: list[Path] = []
    from headstart.keras.export import classifier as exported_features

    monkeypatch.setattr(exported_features, "load_features", lambda *given: loaded.append(given[0]))
    with pytest.raises(CorruptFileError, match="was not loaded"):
        load_features(folder)
    assert not loaded


def test_features_that_are_not_finite_are_an_error() -> None:
    extractor = Model(
        16, None, (2,), lambda pixels: np.full((len(pixels), 2), np.nan, np.float32), 32, 2,
        "The export format keras", "Export it again.",
    )  # fmt: skip
    with pytest.raises(CorruptFileError, match="did not give finite numbers"):
        extractor(np.zeros((1, 16, 16, 3), np.uint8))


@pytest.mark.parametrize("count", [1, 9, 1234])
def test_rows_are_written_as_they_come(tmp_path: Path, count: int) -> None:
    path = tmp_path / "deep" / "f.npy"
    expected = np.random.default_rng(0).normal(size=(count, 2, 3)).astype(np.float32)
    names = [f'a "b", {number}\u00e9.jpg' for number in range(count)]
    with feature_file(path, (2, 3)) as add:
        for name, row in zip(names, expected, strict=True):
            add(name, row)
        assert not path.exists()
    found = np.load(path, allow_pickle=False)
    assert found.dtype == np.float32
    assert np.array_equal(found, expected)
    with names_beside(path).open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["row", "file"],
            *([str(row), name] for row, name in enumerate(names)),
        ]


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "f.npy"
    with pytest.raises(KeyError), feature_file(path, (2,)) as add:
        add("a", np.zeros(2, np.float32))
        raise KeyError
    assert list(tmp_path.iterdir()) == []
