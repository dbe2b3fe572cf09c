"""A search by Optuna's sampler: deterministic, resumable, and honest about its choice."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("optuna", reason="the extra optuna is not installed")

from headstart._utils.errors import HeadstartError, ParameterError
from headstart.features.folder import read_features
from headstart.selection import proposals as proposing
from headstart.selection.grid import DEFAULT_RANGES, Trial, axes, pairs
from headstart.selection.halves import guiding
from headstart.selection.journal import Journal
from headstart.selection.optimism import without_optimism
from headstart.selection.proposals import BATCH, Proposals
from headstart.selection.sweep import Found, search
from headstart.selection.trials import Result, identity_of
from tests.selection.test_sweep import BASE, made
from tests.stages.recorded import Recorded

WORDS = ("train_head.learning_rate=0.0001..0.5", "train_head.hidden=[],[4]")
SEED = 42


def asking(words: Sequence[str] = WORDS, seed: int = SEED, images: int = 45) -> Proposals:
    return Proposals(axes(words), BASE, 0, guiding(images, seed), seed)


def run(data: Recorded, count: int, processes: int = 2, words: Sequence[str] = WORDS) -> Found:
    journal = Journal(read_features(data.features).header, SEED)
    return search(data.features, journal, asking(words), count, guiding(45, SEED), processes, SEED)


def scored(trial: Trial, right: Callable[[Trial], int], images: int = 200) -> Result:
    """A result with so many right answers."""
    answers = np.arange(images) < right(trial)
    return Result(
        identity=identity_of(trial), outcome="trained", loss=1.0, log_loss=1.0, guiding_loss=1.0,
        right=np.packbits(answers).tobytes().hex(),
    )  # fmt: skip


def played(sampler: Proposals, right: Callable[[Trial], int], batches: int) -> list[Trial]:
    found: list[Trial] = []
    for _ in range(batches):
        batch = sampler.ask(BATCH)
        sampler.tell(batch, {identity_of(each): scored(each, right) for each in batch})
        found += batch
    return found


def test_processes_and_the_journal_do_not_change_what_is_proposed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = made(tmp_path / "features")
    alone = run(data, 20, processes=1)
    assert (alone.recorded, len(alone.trials)) == (0, 20)
    again = run(data, 20)
    assert again.recorded == 20
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "elsewhere"))
    two = run(data, 20)
    assert two.recorded == 0
    for other in (again, two):
        assert list(other.trials) == list(alone.trials)
        assert [one.trial for one in other.ranking] == [one.trial for one in alone.ranking]
        assert other.estimate() == alone.estimate()


def test_an_ended_search_resumes_as_if_it_had_gone_on(tmp_path: Path) -> None:
    data = made(tmp_path / "features")
    short = run(data, 11)  # ends within a batch
    long = run(data, 24)
    assert long.recorded == 11
    assert list(long.trials[:11]) == list(short.trials)
    assert len({identity_of(trial) for trial in long.trials}) == 24


def test_the_seed_decides_and_the_head_of_params_yaml_comes_first() -> None:
    first, same, other = (asking(seed=seed).ask(BATCH) for seed in (1, 1, 2))
    assert first == same
    assert first != other
    assert first[0].changes == other[0].changes == {}


def test_it_learns_from_results() -> None:
    """Rates near 0.01 are good: later proposals lie nearer to it than the random ones."""

    def distance(trial: Trial) -> float:
        return abs(float(np.log10(trial.params.learning_rate)) + 2)

    found = played(asking(images=200), lambda trial: int(200 - 60 * distance(trial)), 8)
    distances = [distance(trial) for trial in found[1:]]
    assert np.mean(distances[40:]) < 0.6 * np.mean(distances[:15])


def test_results_on_the_other_half_change_no_proposal() -> None:
    guides = guiding(200, SEED)

    def told(unseen: bool) -> list[Trial]:
        sampler, found = asking(images=200), list[Trial]()
        for _ in range(4):
            batch = sampler.ask(BATCH)
            results = {}
            for each in batch:
                result = scored(each, lambda one: int(200 * one.params.learning_rate))
                answers = np.where(guides, result.correct(200), unseen)
                bits = np.packbits(answers).tobytes().hex()
                results[result.identity] = result.model_copy(
                    update={"right": bits, "log_loss": 1.0 + unseen, "loss": 1.0 + unseen}
                )
            sampler.tell(batch, results)
            found += batch
        return found

    assert told(unseen=True) == told(unseen=False)


def test_what_was_stopped_or_diverged_is_behind_what_was_trained() -> None:
    sampler = asking()
    trial = sampler.ask(1)[0]
    bad = scored(trial, lambda _: 0, 45)
    stopped = bad.model_copy(update={"outcome": "stopped", "course": (0.9,)})
    lower = bad.model_copy(update={"outcome": "stopped", "course": (0.1,)})
    failed = bad.model_copy(update={"outcome": "failed"})
    worth = [sampler._worth(each) for each in (scored(trial, lambda _: 45, 45), bad, stopped,
                                               lower, failed)]  # fmt: skip
    assert worth == sorted(worth, reverse=True)
    assert len(set(worth)) == 5


def test_few_combinations_are_each_proposed_once() -> None:
    words = ("train_head.dropout=0.0,0.5", "train_head.hidden=[],[4]")
    found = played(asking(words, images=200), lambda _: 100, 3)
    assert len(found) == 4  # that of params.yaml is one of them
    assert len({trial.identity for trial in found}) == 4


def test_numbers_and_a_range_of_one_key() -> None:
    words = ("train_head.weight_decay=0.0", "train_head.weight_decay=0.1..10")
    found = played(asking(words, images=200), lambda _: 100, 5)
    decays = [trial.params.weight_decay for trial in found]
    assert 0.0 in decays
    assert all(decay == 0 or 0.1 <= decay <= 10 for decay in decays)
    assert len(set(decays)) > 10


def test_default_ranges_are_allowed() -> None:
    assert pairs(DEFAULT_RANGES, BASE, 0)


def test_values_that_do_not_fit_are_refused_before_training() -> None:
    values = axes(["train_head.outputs=classes,one", "train_head.activation=sigmoid,softmax"])
    with pytest.raises(ParameterError, match="sigmoid with `outputs: one`"):
        pairs(values, BASE, 0)
    with pytest.raises(ParameterError, match="less than 1"):
        pairs(axes(["train_head.dropout=0.1..1.5"]), BASE, 0)


def test_half_of_the_images_guide() -> None:
    found = guiding(101, 7)
    assert found.sum() == 50
    assert (found == guiding(101, 7)).all()
    assert (found != guiding(101, 8)).any()
    assert guiding(1, 7).all()


def test_the_estimate_is_not_flattered_by_a_search_for_lucky_trials() -> None:
    """Of equal trials, those are kept that are right on the guiding half, as by a search."""
    errors: Mapping[str, list[float]] = {"fresh": [], "all": []}
    for seed in range(30):
        generator = np.random.Generator(np.random.Philox(key=seed))
        guides = guiding(200, seed)
        many = generator.random((1000, 200)) < 0.8
        found = many[np.argsort(-many[:, guides].sum(axis=1))[:40]]
        errors["fresh"].append(without_optimism(found, seed, ~guides).accuracy - 0.8)
        errors["all"].append(without_optimism(found, seed).accuracy - 0.8)
    assert abs(np.mean(errors["fresh"])) < 0.012
    assert np.mean(errors["all"]) > 0.018


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(HeadstartError, match=r"`--sampler tpe` needs the extra `optuna`"):
        proposing.require_optuna()


def test_a_failing_batch_is_no_reference(tmp_path: Path) -> None:
    data = made(tmp_path / "features")
    words = ("train_head.optimizer=sgd", "train_head.learning_rate=1e20..1e30")
    found = run(data, 4, words=words)
    assert (found.count("failed"), found.count("trained")) == (3, 1)
    values: dict[str, Any] = {"fresh": found.fresh, "images": found.images}
    assert values == {"fresh": 23, "images": 45}
