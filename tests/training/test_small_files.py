"""Labels, histories, predictions: the small files around a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headstart._utils.errors import CorruptFileError
from headstart.evaluation.predictions import Predictions, read_predictions, write_predictions
from headstart.training import history
from headstart.training.labels import read_labels, write_labels

# A carriage return in a name does not survive a CSV with "\n" line ends; surrogates are no text.
TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), min_size=1, max_size=8
)
FEW = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FEW
@given(names=st.lists(TEXT, min_size=1, max_size=6, unique=True))
def test_labels_are_read_as_written(tmp_path: Path, names: list[str]) -> None:
    write_labels(tmp_path / "labels.json", sorted(names))
    assert read_labels(tmp_path / "labels.json") == sorted(names)


@pytest.mark.parametrize("text", ["", "[", "{}", "[]", '["b", "a"]', '["a", "a"]', "[1]", '[""]'])
def test_anything_but_sorted_names_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(CorruptFileError, match=r"labels\.json"):
        read_labels(tmp_path / "labels.json")


def test_unsorted_labels_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sorted"):
        write_labels(tmp_path / "labels.json", ["b", "a"])


@FEW
@given(
    losses=st.lists(
        st.tuples(*[st.floats(0, 1e9), st.floats(0, 1), st.floats(0, 1e9), st.floats(0, 1)]),
        max_size=5,
    )
)
def test_histories_round_trip(tmp_path: Path, losses: list[tuple[float, ...]]) -> None:
    epochs = pd.DataFrame(
        [(i + 1, *row, 1e-3) for i, row in enumerate(losses)], columns=list(history.EPOCHS)
    ).astype(dict(history.EPOCHS))
    history.write_epochs(tmp_path / "e.csv", epochs)
    pd.testing.assert_frame_equal(history.read_epochs(tmp_path / "e.csv"), epochs, check_exact=True)
    batches = pd.DataFrame(
        [(i + 1, 1, *row[:2]) for i, row in enumerate(losses)], columns=list(history.BATCHES)
    ).astype(dict(history.BATCHES))
    history.write_batches(tmp_path / "b.csv", batches)
    pd.testing.assert_frame_equal(history.read_batches(tmp_path / "b.csv"), batches)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "step,epoch,loss\n",
        "step,epoch,loss,accuracy\n2,1,0.5,0.5\n",
        "step,epoch,loss,accuracy\n1,1,,0.5\n",
        "step,epoch,loss,accuracy\n1,1,much,0.5\n",
    ],
)
def test_a_spoiled_history_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "b.csv").write_text(text)
    with pytest.raises(CorruptFileError, match=r"b\.csv"):
        history.read_batches(tmp_path / "b.csv")


@FEW
@given(data=st.data(), classes=st.lists(TEXT, min_size=1, max_size=4, unique=True))
def test_predictions_round_trip_bit_for_bit(
    tmp_path: Path, data: st.DataObject, classes: list[str]
) -> None:
    n = data.draw(st.integers(1, 4))
    table = hnp.arrays(np.float32, (n, len(classes)), elements=st.floats(0, 1, width=32))
    labels = data.draw(st.lists(st.sampled_from(classes), min_size=n, max_size=n))
    paths = data.draw(st.lists(TEXT, min_size=n, max_size=n))
    columns = {"image_id": [f"{i:064x}" for i in range(n)], "path": paths, "label": labels}
    images = pd.DataFrame(columns, dtype="str")
    wanted = Predictions.record(images, sorted(classes), data.draw(table), data.draw(table))
    write_predictions(tmp_path / "p.csv", wanted)
    found = read_predictions(tmp_path / "p.csv", sorted(classes))
    pd.testing.assert_frame_equal(found.rows, wanted.rows)
    assert found.head.tobytes() == wanted.head.tobytes()
    assert found.model.tobytes() == wanted.model.tobytes()


@pytest.mark.parametrize(
    ("change", "classes", "told"),
    [
        ({"model": [[1.5, 0.0]]}, ["a", "b"], "not probabilities"),
        ({"model": [[np.nan, 0.0]]}, ["a", "b"], "could not convert"),
        ({"label": ["z"]}, ["a", "b"], "'z' is not a class"),
        ({}, ["a", "b", "c"], "3 classes"),
    ],
)
def test_spoiled_predictions_are_refused(
    tmp_path: Path, change: dict[str, Any], classes: list[str], told: str
) -> None:
    values = {"label": ["a"], "head": [[0.5, 0.5]], "model": [[0.5, 0.5]], **change}
    rows = pd.DataFrame(
        {"image_id": ["0"], "path": ["p"], "label": values["label"], "predicted": ["a"]}
    )
    write_predictions(
        tmp_path / "p.csv",
        Predictions(rows, np.array(values["head"]), np.array(values["model"])),
    )
    with pytest.raises(CorruptFileError, match=told):
        read_predictions(tmp_path / "p.csv", classes)
