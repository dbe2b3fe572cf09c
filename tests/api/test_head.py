"""The head as a classifier of scikit-learn, and the same as the stage's."""

from __future__ import annotations

import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_info

import headstart as hs
from headstart._utils.errors import HeadstartError
from headstart.api.checks import ArgumentError
from headstart.features.folder import read_features
from headstart.training.model_folder import read_head, read_model
from tests.conftest import ROOT
from tests.stages import recorded, small_run


# At this rate and without the decay, the epochs suffice for the checks' toy data, which has two
# features. (The defaults are meant for a thousand.)
@parametrize_with_checks([hs.HeadClassifier(learning_rate=0.1, weight_decay=0.0)])  # type: ignore[untyped-decorator]
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_digits(n_class=3, return_X_y=True)
    return X[:500], np.array(["zero", "one", "two"])[y[:500]]


def weights(head: Any) -> bytes:
    return b"".join(head.weights_[name].tobytes() for name in sorted(head.weights_))


def test_it_works_in_a_pipeline_a_search_and_cross_validation(
    digits: tuple[np.ndarray, np.ndarray],
) -> None:
    X, y = digits
    head = hs.HeadClassifier(learning_rate=0.01)
    scores = cross_val_score(make_pipeline(StandardScaler(), head), X, y, cv=3)
    assert scores.min() > 0.8
    grid = {"dropout": [0.0, 0.5], "learning_rate": np.logspace(-3, -2, 2), "hidden": [(), (8,)]}
    search = GridSearchCV(hs.HeadClassifier(epochs=3), grid, cv=2).fit(X, y)
    assert search.best_score_ > 0.8
    assert len(search.cv_results_["params"]) == 8


def test_it_is_the_head_of_the_pipeline(tmp_path: Path) -> None:
    """The same features, split, parameters and seed give the same bytes."""
    made = recorded.separable(tmp_path / "made", counts=(64, 20, 20))
    options: dict[str, Any] = {
        "learning_rate": 0.01,
        "batch_size": 16,
        "hidden": [8],
        "class_weights": "balanced",
    }
    done = recorded.stage(
        "train_head",
        params=recorded.params(
            tmp_path / "params.yaml",
            **{f"train_head__{name}": value for name, value in options.items()},
        ),
        features=made.features,
        runtime=recorded.RUNTIME,
        model=tmp_path / "model",
        epoch_history=tmp_path / "epochs.csv",
        batch_history=tmp_path / "batches.csv",
        run_statistics=tmp_path / "run_statistics",
    )
    assert done.returncode == 0, done.stderr
    features = read_features(made.features)
    X, X_val = (features.array(split) for split in ("train", "validation"))
    y, y_val = (features.rows(split)["label"] for split in ("train", "validation"))
    head = hs.HeadClassifier(random_state=small_run.SEED, **options)
    head.fit(X, y, X_val=X_val, y_val=y_val)
    found = read_head(tmp_path / "model", read_model(tmp_path / "model"))
    assert {name: array.tobytes() for name, array in found.items()} == {
        name: array.tobytes() for name, array in head.weights_.items()
    }


def test_a_head_is_trained_pickled_and_used_without_tensorflow(
    digits: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    X, y = digits
    head = hs.HeadClassifier(epochs=5).fit(X, y)
    np.save(tmp_path / "X.npy", X)
    (tmp_path / "head.pickle").write_bytes(pickle.dumps(head))
    script = (
        "import pickle, sys, numpy; from pathlib import Path; folder = Path(sys.argv[1]);"
        "head = pickle.loads((folder / 'head.pickle').read_bytes());"
        "X = numpy.load(folder / 'X.npy');"
        "print(*head.predict(X));"
        "head.fit(X, numpy.arange(len(X)) % 2);"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == head.predict(X).tolist()


def test_it_leaves_the_process_as_it_was(digits: tuple[np.ndarray, np.ndarray]) -> None:
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 - the global state is what must not change
    states = random.getstate(), repr(np.random.get_state())  # noqa: NPY002
    threads = [each["num_threads"] for each in threadpool_info()]
    first = hs.HeadClassifier(epochs=2).fit(*digits)
    with pytest.raises(HeadstartError, match="diverged"):
        hs.HeadClassifier(optimizer="sgd", learning_rate=1e30).fit(*digits)
    second = hs.HeadClassifier(epochs=2).fit(*digits)
    assert states == (random.getstate(), repr(np.random.get_state()))  # noqa: NPY002
    assert threads == [each["num_threads"] for each in threadpool_info()]
    assert weights(first) == weights(second)


def test_the_seed_decides(digits: tuple[np.ndarray, np.ndarray]) -> None:
    one = hs.HeadClassifier(epochs=1, random_state=1).fit(*digits)
    assert weights(one) == weights(clone(one).fit(*digits))
    assert weights(one) != weights(clone(one).set_params(random_state=2).fit(*digits))
    state = np.random.RandomState(0)
    drawn = [weights(hs.HeadClassifier(epochs=1, random_state=state).fit(*digits)) for _ in "ab"]
    assert drawn[0] != drawn[1]


def test_early_stopping_keeps_rows_for_validation(digits: tuple[np.ndarray, np.ndarray]) -> None:
    fast: dict[str, Any] = {"learning_rate": 0.1, "learning_rate_schedule": "constant"}
    head = hs.HeadClassifier(epochs=200, early_stopping_patience=2, **fast).fit(*digits)
    assert head.n_iter_ < 200
    assert head.best_epoch_ == head.n_iter_ - 2 == 1 + head.history_["val_loss"].argmin()
    nothing: dict[str, Any] = {"early_stopping_patience": None, "calibration": "none"}
    plain = hs.HeadClassifier(epochs=2, **nothing).fit(*digits)
    assert (plain.n_iter_, plain.best_epoch_) == (2, 2)
    assert "val_loss" not in plain.history_


def test_rows_for_validation_are_checked(digits: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = digits
    with pytest.raises(ValueError, match="both X_val and y_val"):
        hs.HeadClassifier().fit(X, y, X_val=X)
    with pytest.raises(ValueError, match="the class 'three'"):
        hs.HeadClassifier().fit(X, y, X_val=X[:1], y_val=["three"])
    with pytest.raises(ValueError, match="features"):
        hs.HeadClassifier().fit(X, y, X_val=X[:, :3], y_val=y)


def test_sigmoid_judges_each_class_and_the_rows_sum_to_one(
    digits: tuple[np.ndarray, np.ndarray],
) -> None:
    X, y = digits
    head = hs.HeadClassifier(activation="sigmoid").fit(X, y)
    np.testing.assert_allclose(head.predict_proba(X).sum(axis=1), 1, rtol=1e-6)
    assert head.score(X, y) > 0.9


def test_all_wrong_arguments_are_named_at_once(digits: tuple[np.ndarray, np.ndarray]) -> None:
    wrong: Any = {"hidden": (0,), "optimizer": "adamm", "learning_rate": -1.0, "epochs": True}
    with pytest.raises(ArgumentError) as caught:
        hs.HeadClassifier(**wrong).fit(*digits)
    text = str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert text.startswith("HeadClassifier got 4 invalid arguments. Nothing was computed.\n")
    for name in ("`hidden.0`", "`optimizer`", "`learning_rate`", "`epochs`"):
        assert name in text
    with pytest.raises(ArgumentError, match="`validation_fraction`"):
        hs.HeadClassifier(validation_fraction=1.0).fit(*digits)


def test_an_epoch_is_reported_when_asked(
    digits: tuple[np.ndarray, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    hs.HeadClassifier(epochs=1).fit(*digits)
    assert not capsys.readouterr().out
    hs.HeadClassifier(epochs=1, verbose=True).fit(*digits)
    assert capsys.readouterr().out.startswith("Epoch 1 of 1: loss")


def test_features_in_a_data_frame_keep_their_names(digits: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = digits
    head: Any = hs.HeadClassifier(epochs=1).fit(pd.DataFrame(X).add_prefix("f"), y)
    assert head.feature_names_in_[:2].tolist() == ["f0", "f1"]
