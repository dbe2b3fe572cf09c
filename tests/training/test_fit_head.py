from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from headstart._utils.errors import HeadstartError
from headstart.features import array_rows
from headstart.features.array_rows import ArrayFile
from headstart.stage.parameters import read_params
from headstart.training import fit_head
from headstart.training.parameters import TrainHeadParams

ROOT = Path(__file__).resolve().parents[2]
Data = tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]


def params(**changes: Any) -> TrainHeadParams:
    defaults: TrainHeadParams = read_params(ROOT / "params.yaml").train_head
    return defaults.model_copy(update={"epochs": 4, **changes})


MEASURED = ("loss", "val_loss", "accuracy", "val_accuracy", "learning_rate")


def data(seed: int, n: int = 200, width: int = 30) -> Data:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, n).astype(np.int32)
    centers = np.random.default_rng(99).normal(size=(3, width))
    return (centers[labels] + generator.normal(size=(n, width))).astype(np.float32), labels


def quiet(_: str) -> None:
    """Say nothing."""


def train(**changes: Any) -> fit_head.TrainedHead:
    return fit_head.fit_head(data(1), data(2), 3, params(**changes), 7, quiet)


def bits(head: fit_head.TrainedHead) -> list[str]:
    return [head.weights[name].tobytes().hex() for name in sorted(head.weights)]


def measured(head: fit_head.TrainedHead) -> list[str]:
    """Return the bits of the history, which is recorded as well."""
    return [head.history.epochs[name].to_numpy().tobytes().hex() for name in MEASURED]


def test_neither_threads_nor_the_processors_kernels_change_a_bit() -> None:
    script = (
        "import sys\n"
        "from tests.training.test_fit_head import bits, measured, train\n"
        "head = train(hidden=[9], dropout=0.3, normalization='batch')\n"
        "print(*bits(head), *measured(head))\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
    )
    found = set()
    for settings in (
        {"OPENBLAS_NUM_THREADS": "3"},
        {"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4"},
    ):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script],
            cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found.add(done.stdout)
    own = train(hidden=[9], dropout=0.3, normalization="batch")
    assert found == {" ".join([*bits(own), *measured(own)]) + "\n"}


def test_features_that_do_not_fit_into_memory_train_the_same_head(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resident = train()
    made = []

    def file(*arguments: Any) -> ArrayFile:
        made.append(ArrayFile(*arguments))
        return made[-1]

    monkeypatch.setattr(array_rows, "RESIDENT_BYTES", 0)
    monkeypatch.setattr(array_rows, "ArrayFile", file)
    assert bits(train()) == bits(resident)
    assert len(made) == 2  # the inputs of training and of validation


def test_the_best_epoch_is_kept_and_the_last_without_patience() -> None:
    wild = {"learning_rate": 0.5, "learning_rate_schedule": "constant", "calibration": "none"}
    found = train(epochs=30, early_stopping_patience=3, **wild)
    losses = found.history.epochs["val_loss"]
    assert found.history.stopped_early
    assert len(losses) == found.history.best_epoch + 3
    assert found.history.best_epoch == losses.argmin() + 1
    shorter = train(epochs=found.history.best_epoch, early_stopping_patience=None, **wild)
    assert bits(found) == bits(shorter)


def test_divergence_is_reported_with_its_place_and_a_next_step() -> None:
    with pytest.raises(
        HeadstartError, match=r"in epoch 1, batch \d+\. Nothing was written\. .*rate"
    ):
        train(optimizer="sgd", learning_rate=1e30)


def test_a_rare_class_is_found_when_it_weighs_more() -> None:
    x, y = data(1, 300)
    x[y == 2] *= 0.2
    keep = (y != 2) | (np.arange(300) % 10 == 0)
    heads = [
        fit_head.fit_head((x[keep], y[keep]), data(2), 3, params(class_weights=each), 7, quiet)
        for each in ("none", "balanced")
    ]
    plain, balanced = (head.weights["1.bias"][2] for head in heads)
    assert balanced > plain
