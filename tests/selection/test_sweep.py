"""A sweep: the heads of the pipeline, each once, and no hopeless one to the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from headstart.features.folder import read_features
from headstart.selection import sweep as sweeping
from headstart.selection import trials as work
from headstart.selection.grid import Trial, axes, trials
from headstart.selection.journal import Journal
from headstart.selection.sweep import Found, sweep
from headstart.selection.trials import POINTS, is_hopeless, train_on
from headstart.stage.parameters import read_params
from headstart.training.model_folder import read_model
from headstart.training.parameters import TrainHeadParams
from tests.conftest import ROOT
from tests.stages import test_train_head as stage
from tests.stages.recorded import Recorded, record

BASE: TrainHeadParams = read_params(ROOT / "params.yaml").train_head.model_copy(
    update={"epochs": 6, "batch_size": 8}
)


def made(folder: Path, views: int = 0) -> Recorded:
    """Three classes that overlap."""
    generator = np.random.Generator(np.random.Philox(key=5))
    means = generator.normal(size=(3, 12))

    def split(count: int) -> tuple[Any, Sequence[int]]:
        labels = np.arange(count) % 3
        noise = generator.normal(size=(count, 12)) * 1.5
        return (noise + means[labels]).astype(np.float32), labels.tolist()

    parts = {"train": split(60), "validation": split(45), "test": split(30)}
    noise = generator.normal(size=(views, 60, 12)).astype(np.float32)
    more = parts["train"][0] + noise if views else None
    return record(folder, parts, ["a", "b", "c"], more)


def wanted(*words: str, views: int = 0) -> list[Trial]:
    return trials(axes(words), BASE, views, None, 42)


def run(data: Recorded, chosen: Sequence[Trial], processes: int = 2) -> Found:
    journal = Journal(read_features(data.features).header, 42)
    return sweep(data.features, journal, chosen, 45, processes, 42)


@pytest.mark.parametrize(
    "words",
    [
        "train_head.hidden=[6]",
        "train_head.dropout=0.3",
        "train_head.activation=sigmoid",
        "train_head.class_weights=balanced",
        "extract_features.views=1",
    ],
)
def test_a_trial_is_the_model_of_the_stage(words: str, tmp_path: Path) -> None:
    data = made(tmp_path / "features", views=2)
    trial = wanted(words, views=2)[-1]
    result = train_on(read_features(data.features), trial, 42)
    # With fewer views, the stage extract_features writes fewer rows.
    other = data if trial.views == 2 else made_with_one_view(data, tmp_path / "one")
    values = {f"train_head__{key}": each for key, each in trial.params.model_dump().items()}
    stage.here(other, tmp_path / "run", **values)
    recorded = read_model(tmp_path / "run/head").validation
    assert result.outcome == "trained"
    assert result.loss == recorded.loss
    assert result.correct(45).mean() == recorded.accuracy


def made_with_one_view(data: Recorded, folder: Path) -> Recorded:
    features = read_features(data.features)
    parts = {
        split: (np.array(features.array(split)), features.labels(split).tolist())
        for split in ("train", "validation", "test")
    }
    array, labels = parts["train"]
    parts["train"] = array[:60], labels[:60]
    return record(folder, parts, ["a", "b", "c"], array[60:120][np.newaxis])


def test_processes_and_the_journal_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = made(tmp_path / "features")
    chosen = wanted("train_head.learning_rate=0.0001,0.01,0.1", "train_head.hidden=[],[4]")
    alone = run(data, chosen, processes=1)
    assert (alone.recorded, alone.count("trained") + alone.count("stopped")) == (0, 7)
    again = run(data, chosen)
    assert again.recorded == 7
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "elsewhere"))
    two = run(data, chosen)
    assert two.recorded == 0
    for other in (again, two):
        assert [one.trial for one in other.ranking] == [one.trial for one in alone.ranking]
        assert [one.result.loss for one in other.ranking] == [
            one.result.loss for one in alone.ranking
        ]
        assert other.estimate() == alone.estimate()


def test_a_killed_sweep_keeps_what_was_finished(tmp_path: Path) -> None:
    data = made(tmp_path / "features")
    chosen = wanted("train_head.learning_rate=0.0001,0.01")
    run(data, chosen[:2])
    journal = Journal(read_features(data.features).header, 42)
    with journal.path.open("ab") as file:
        file.write(b'0123456789abcdef {"identity": "torn')
    found = run(data, chosen)
    assert (found.recorded, len(found.results)) == (2, 3)
    assert len(journal.read()) == 3


def test_damaged_lines_do_not_count(tmp_path: Path) -> None:
    data = made(tmp_path / "features")
    chosen = wanted("train_head.learning_rate=0.01")
    run(data, chosen)
    journal = Journal(read_features(data.features).header, 42)
    text = journal.path.read_bytes()
    assert len(journal.read()) == 2
    journal.path.write_bytes(text.replace(b'"epochs":', b'"epochs":1', 1))
    assert len(journal.read()) == 1


def test_other_features_have_another_journal(tmp_path: Path) -> None:
    one, other = (made(tmp_path / f"{views}", views=views) for views in (0, 1))
    headers = [read_features(data.features).header for data in (one, other)]
    paths = {Journal(header, seed).path for header in headers for seed in (1, 2)}
    assert len(paths) == 4


def test_a_trial_that_diverges_is_reported_and_the_others_go_on(tmp_path: Path) -> None:
    data = made(tmp_path / "features")
    words = ("train_head.learning_rate=1e30", "train_head.optimizer=sgd")
    found = run(data, wanted(*words))
    assert (found.count("failed"), len(found.ranking)) == (1, 1)
    (failed,) = [each for each in found.results.values() if each.outcome == "failed"]
    assert "learning rate" in failed.message


def test_what_is_significantly_behind_is_hopeless() -> None:
    reference = [0.9] * POINTS
    grace = POINTS // 5
    assert not is_hopeless([0.5] * (grace - 1), reference, 100)
    assert is_hopeless([0.5] * grace, reference, 100)
    assert not is_hopeless([0.87] * grace, reference, 100)  # may be chance
    assert is_hopeless([0.87] * grace, reference, 10_000)
    assert not is_hopeless([0.5] * POINTS, (), 100)


def test_hopeless_trials_are_stopped_and_never_win(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "_REFERENCES", 1)
    data = made(tmp_path / "features")
    bad = ("train_head.steps_per_epoch=1", "train_head.batch_size=1")
    found = run(data, wanted(*bad))
    assert found.count("stopped") == 1
    (stopped,) = [each for each in found.results.values() if each.outcome == "stopped"]
    assert len(stopped.course) < POINTS
    assert found.ranking[0].trial.changes == {}
    # The same from the journal.
    again = run(data, wanted(*bad))
    assert (again.recorded, again.count("stopped")) == (2, 1)
    # Without a reference it is trained to its end.
    monkeypatch.setattr(sweeping, "_REFERENCES", 2)
    assert run(data, wanted(*bad)).count("stopped") == 0


def test_a_course_holds_the_highest_accuracy_so_far() -> None:
    from headstart.training.checkpoint import Progress

    now = Progress(epochs=[{"val_accuracy": each} for each in (0.5, 0.4, 0.7)])
    assert work._course(now, 6) == [0.5] * 6 + [0.7] * 4
    assert work._course(Progress(epochs=now.epochs[:1]), 40) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from headstart._utils.workers import worker_processes
from headstart.selection.trials import open_features

if __name__ == "__main__":
    with worker_processes(2, open_features, Path(sys.argv[1])) as pool:
        futures = [pool.submit(os.getpid) for _ in range(20)]
        print(*{future.result() for future in futures}, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_workers_end_with_a_sweep_that_is_killed(tmp_path: Path) -> None:
    data = made(tmp_path / "features")
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    done = subprocess.run(
        [sys.executable, str(script), str(data.features)], cwd=ROOT, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    workers = [int(each) for each in done.stdout.split()]
    assert workers
    end = time.monotonic() + 60
    while any(psutil.pid_exists(each) for each in workers) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(psutil.pid_exists(each) for each in workers)
