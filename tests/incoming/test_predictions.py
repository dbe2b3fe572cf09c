from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart._utils.errors import HeadstartError
from headstart.evaluation.predictions import Predictions
from headstart.incoming import predictions
from headstart.incoming.alike import Verdict
from headstart.incoming.predictions import Recorded, judge_recorded, read_recorded
from headstart.serving.inputs import Input
from headstart.serving.results import answer, writer

CLASSES = ("=cat", "dog")


@given(
    st.lists(st.floats(0, 1, width=16), min_size=1, max_size=5), st.sampled_from(["csv", "jsonl"])
)
def test_what_predict_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, shares: list[float], output: str
) -> None:
    inputs = [Input(f"-{number}.jpg", "") for number in range(len(shares))]
    head, write = writer(output, inputs, CLASSES, 2, synsets=False)  # type: ignore[arg-type]
    rows = [np.array([share, 1 - share], np.float32) for share in shares]
    lines = [write(one, answer(row, CLASSES, 2)) for one, row in zip(inputs, rows, strict=True)]
    path = tmp_path_factory.mktemp("predictions") / f"today.{output}"
    path.write_text("\n".join([*filter(None, [head]), *lines]) + "\n", encoding="utf-8")
    found = read_recorded(path, CLASSES)
    assert found.files == [one.name for one in inputs]
    assert found.labels.tolist() == [int(row.argmax()) for row in rows]
    assert np.allclose(found.confidence, [row.max() for row in rows])


def test_an_unsure_row_of_json_counts_with_its_first_guess(tmp_path: Path) -> None:
    path = tmp_path / "today.jsonl"
    top = [{"label": "dog", "probability": 0.6}]
    path.write_text(json.dumps({"file": "a", "label": None, "probability": 0.6, "top": top}))
    assert read_recorded(path, CLASSES).labels.tolist() == [1]


@pytest.mark.parametrize(
    ("line", "got"),
    [
        ('{"file": "a", "label": "fox", "probability": 0.5}', "the class 'fox'"),
        ('{"file": "a", "label": "dog", "probability": 7}', "the probability '7'"),
        ('{"file": "a", "label": ["dog"], "probability": 1}', "the class"),
        ("[" * 100_000, "the class 'None'"),
        ("no JSON", "the class 'None'"),
    ],
)
def test_a_line_that_is_no_prediction_is_named(tmp_path: Path, line: str, got: str) -> None:
    path = tmp_path / "today.jsonl"
    path.write_text('{"file": "a", "label": "dog", "probability": 0.5}\n' + line)
    with pytest.raises(HeadstartError, match="line 2: expected a row") as caught:
        read_recorded(path, CLASSES)
    assert got in str(caught.value)
    assert "headstart predict --format jsonl" in str(caught.value)


def test_lines_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions, "_MOST", 3)
    path = tmp_path / "today.jsonl"
    path.write_text('{"file": "a", "label": "dog", "probability": 0.5}\n' * 4)
    with pytest.raises(HeadstartError, match="at most 3 lines"):
        read_recorded(path, CLASSES)


def judged(new: Recorded, groups: list[str]) -> Verdict:
    count = len(groups)
    rows = pd.DataFrame(
        {
            "image_id": [f"{number:064x}" for number in range(count)],
            "path": "a",
            "label": "dog",
            "split": "test",
            "group": groups,
        }
    )
    random = np.random.default_rng(0)
    share = random.uniform(0.5, 1, count)
    sides = random.integers(0, 2, count)
    model = np.where(sides[:, None] == [0, 1], share[:, None], 1 - share[:, None])
    made = Predictions.record(rows, CLASSES, model, model)
    return judge_recorded(made, rows, {}, new, CLASSES, 42)


def recorded(low: float, count: int = 60) -> Recorded:
    random = np.random.default_rng(1)
    return Recorded(
        [f"{number}.jpg" for number in range(count)],
        random.integers(0, 2, count),
        random.uniform(low, 0.5 + low, count),
    )


def test_predictions_like_those_of_the_test_images_are_alike_and_others_not() -> None:
    alone = [""] * 100
    assert judged(recorded(0.5), alone).p > 0.05
    unlike = judged(recorded(0.35), alone)
    assert unlike.p <= 0.01
    assert unlike.reasons(0.01)[0].startswith("classified with less confidence")


def test_images_of_one_group_count_as_one() -> None:
    with pytest.raises(HeadstartError, match="has 10 validation and test images"):
        judged(recorded(0.5), [f"g{number // 10}" for number in range(100)])
