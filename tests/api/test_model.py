"""An exported model on images: a row for each, whichever way they come."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import headstart as hs
from headstart._utils.errors import HeadstartError
from headstart.api.model import Model
from headstart.serving.models import load_classifier
from tests.serving import models

COLORS = ["red", "blue", "green", "red"]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.shared(tmp_path_factory)


@pytest.fixture
def contents() -> list[bytes]:
    return [models.colored(color, seed=seed) for seed, color in enumerate(COLORS)]


def test_each_image_gets_a_label_and_a_probability(export: Path, contents: list[bytes]) -> None:
    model = hs.load_model(export)
    assert model.labels == models.CLASSES
    assert model.image_size == models.SIZE
    assert "3 classes" in repr(model)
    table = model.predict(contents)
    assert list(table) == ["path", "label", "probability", "rejected"]
    assert table["label"].tolist() == COLORS
    assert table["path"].tolist() == [f"image {number}" for number in range(4)]
    assert set(table["rejected"]) == {""}
    probabilities = model.predict_proba(contents)
    assert probabilities.shape == (4, 3)
    assert probabilities.dtype == np.float32
    np.testing.assert_array_equal(probabilities.max(axis=1), table["probability"])


def test_the_saved_model_is_run_in_batches(export: Path, contents: list[bytes]) -> None:
    lite, saved = (Model(load_classifier(export, form)) for form in (None, "saved_model"))
    images = [b"", *contents * 9]
    table = saved.predict(images, on_error="keep")
    assert table["label"].tolist()[1:] == COLORS * 9
    np.testing.assert_allclose(
        saved.predict_proba(contents), lite.predict_proba(contents), atol=1e-5
    )


def test_bad_images_stop_it_or_keep_their_rows(
    export: Path, contents: list[bytes], tmp_path: Path
) -> None:
    model = hs.load_model(export)
    good, absent = tmp_path / "red.png", tmp_path / "absent.png"
    good.write_bytes(contents[0])
    paths = pd.Series([str(absent), str(good)], index=["x", "y"])
    with pytest.raises(hs.RejectedImagesError, match=r"absent\.png: unreadable"):
        model.predict(paths)
    with pytest.raises(hs.RejectedImagesError):
        model.predict_proba(paths)
    table = model.predict(paths, on_error="keep")
    assert table.index.tolist() == ["x", "y"]
    assert table["label"].isna().tolist() == [True, False]
    assert table["probability"].isna().tolist() == [True, False]
    assert table.loc["x", "rejected"] == "unreadable: No such file or directory"
    assert table.loc["y", "label"] == "red"
    with pytest.raises(ValueError, match="`on_error`"):
        model.predict(paths, on_error="skip")  # type: ignore[arg-type]


def test_no_images_are_no_rows(export: Path) -> None:
    model = hs.load_model(export)
    assert model.predict([]).shape == (0, 4)
    assert model.predict_proba([]).shape == (0, 3)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HeadstartError, match="is not an exported model"):
        hs.load_model(tmp_path)
