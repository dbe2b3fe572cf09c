"""The heads of a sweep, from the values of a command line."""

from __future__ import annotations

import re
from typing import Any

import pytest

from headstart._utils.errors import ParameterError
from headstart.selection import grid
from headstart.selection.grid import axes, trials
from headstart.stage.parameters import read_params
from tests.conftest import ROOT

BASE = read_params(ROOT / "params.yaml").train_head


def changes(*assignments: str, views: int = 0, count: int | None = None) -> list[dict[str, Any]]:
    found = trials(axes(assignments), BASE, views, count, 42)
    return [dict(trial.changes) for trial in found]


def test_values_are_yaml_between_commas() -> None:
    found = axes([
        "train_head.hidden=[],[128],[64, 32]",
        "train_head.learning_rate=1e-3,0.01",
        "train_head.weight_decay=1",
        "train_head.early_stopping_patience=null,3",
        "train_head.optimizer=adam,sgd",
    ])  # fmt: skip
    assert found["train_head.hidden"] == ([], [128], [64, 32])
    assert found["train_head.learning_rate"] == (0.001, 0.01)
    assert found["train_head.weight_decay"] == (1.0,)
    assert found["train_head.early_stopping_patience"] == (None, 3)
    assert found["train_head.optimizer"] == ("adam", "sgd")


def test_the_head_of_params_yaml_comes_first_and_no_head_twice() -> None:
    found = changes("train_head.learning_rate=0.001,0.01", "train_head.dropout=0.0,0.5")
    assert found[0] == {}
    assert len(found) == 4  # 0.001 and 0.0 stand in params.yaml
    assert {"train_head.learning_rate": 0.01, "train_head.dropout": 0.5} in found


def test_the_default_grid_is_valid() -> None:
    assert 30 < len(changes()) < 60


def test_the_order_is_that_of_the_seed() -> None:
    words = ("train_head.batch_size=8,16,24,40,48,56,64",)
    assert changes(*words) == changes(*words)
    other = trials(axes(words), BASE, 0, None, 43)
    assert [dict(each.changes) for each in other] != changes(*words)
    # A draw is the beginning of the whole.
    assert changes(*words, count=3) == changes(*words)[:4]


def test_a_range_is_drawn_log_uniformly() -> None:
    found = changes("train_head.learning_rate=0.0001..0.1", count=200)
    rates = [each.get("train_head.learning_rate", 0.001) for each in found[1:]]
    assert all(0.0001 <= rate <= 0.1 for rate in rates)
    assert 0.3 < sum(rate < 0.00316 for rate in rates) / len(rates) < 0.7


def test_the_loss_follows_the_activation() -> None:
    (_, sigmoid) = changes("train_head.activation=softmax,sigmoid")
    assert sigmoid == {
        "train_head.activation": "sigmoid",
        "train_head.loss": "binary_crossentropy",
    }


def test_views_must_be_cached() -> None:
    found = changes("extract_features.views=0,2,4", views=4)
    assert sorted(each.get(grid.VIEWS, 4) for each in found) == [0, 2, 4]
    with pytest.raises(ParameterError, match=r"from 0 to 4, the views that are cached\. Got 5"):
        changes("extract_features.views=5", views=4)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("train_head.learning_rat=1", "Did you mean `train_head.learning_rate`?"),
        ("split.test=0.2", "A sweep sets a key of `train_head`"),
        ("train_head.dropout", "as KEY=VALUE,VALUE"),
        ("train_head.dropout=", "must be YAML, separated by commas"),
        ("train_head.dropout=[0", "must be YAML, separated by commas"),
        ("train_head.dropout=2", "`dropout` parameter must be less than 1"),
        ("train_head.learning_rate=0.1..0.01", "0 < LOW < HIGH"),
        ("train_head.learning_rate=a..b", "0 < LOW < HIGH"),
        ("train_head.epochs=1..9", "0 < LOW < HIGH"),
        ("train_head.learning_rate=0.001..0.1", "`--trials 50`"),
        ("train_head.activation=sigmoid,tanh", "`activation` parameter must be"),
    ],
)
def test_wrong_values_are_refused(words: str, says: str) -> None:
    with pytest.raises(ParameterError, match=re.escape(says)):
        changes(words)


def test_a_grid_without_end_is_refused() -> None:
    words = [f"train_head.{key}={','.join(map(str, range(1, 60)))}" for key in
             ("batch_size", "epochs", "steps_per_epoch")]  # fmt: skip
    with pytest.raises(ParameterError, match="205,379 combinations"):
        changes(*words)
