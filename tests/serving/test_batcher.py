from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from headstart.serving.batcher import Batcher, BusyError

PATIENCE = 30


class Gate:
    """A run that waits to be let go, and notes its batches."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.began = threading.Event()
        self.batches: list[list[int]] = []

    def __call__(self, jobs: Sequence[int]) -> list[int | Exception]:
        self.began.set()
        assert self.open.wait(PATIENCE)
        self.batches.append(list(jobs))
        return [ValueError(f"bad {job}") if job < 0 else 10 * job for job in jobs]


def batcher(run: Any, **changes: Any) -> Batcher[int, int]:
    options = {"threads": 1, "max_batch": 4, "max_wait": 0.0, "room": 100, **changes}
    return Batcher(run, **options)


def test_waiting_jobs_become_one_batch() -> None:
    gate = Gate()
    sizes: list[int] = []
    runner = batcher(gate, seen=sizes.append)
    first = runner.submit([1])
    assert gate.began.wait(PATIENCE)
    rest = [runner.submit([job])[0] for job in range(2, 8)]
    gate.open.set()
    assert [future.result(PATIENCE) for future in [*first, *rest]] == [
        10 * job for job in range(1, 8)
    ]
    assert gate.batches == [[1], [2, 3, 4, 5], [6, 7]]
    assert sizes == [1, 4, 2]
    runner.close()
    assert runner.held == 0


def test_a_job_waits_for_others_with_max_wait() -> None:
    gate = Gate()
    gate.open.set()
    runner = batcher(gate, max_batch=2, max_wait=PATIENCE)
    futures = [runner.submit([job])[0] for job in (1, 2)]
    assert [future.result(PATIENCE) for future in futures] == [10, 20]
    assert gate.batches == [[1, 2]]
    runner.close()


def test_all_or_none_of_a_request_finds_room() -> None:
    gate = Gate()
    runner = batcher(gate, room=4)
    futures = runner.submit([1, 2, 3])
    with pytest.raises(BusyError):
        runner.submit([4, 5])
    futures += runner.submit([4])
    gate.open.set()
    assert [future.result(PATIENCE) for future in futures] == [10, 20, 30, 40]
    runner.close()


def test_one_bad_job_spoils_no_other() -> None:
    gate = Gate()
    gate.open.set()
    runner = batcher(gate)
    good, bad = runner.submit([1, -2])
    assert good.result(PATIENCE) == 10
    with pytest.raises(ValueError, match="bad -2"):
        bad.result(PATIENCE)
    runner.close()


def test_a_failed_batch_fails_its_jobs_and_the_thread_goes_on() -> None:
    def run(jobs: Sequence[int]) -> list[int]:
        if 0 in jobs:
            raise ZeroDivisionError
        return list(jobs)

    runner = batcher(run)
    with pytest.raises(ZeroDivisionError):
        runner.submit([0])[0].result(PATIENCE)
    assert runner.submit([5])[0].result(PATIENCE) == 5
    runner.close()


def test_cancelled_jobs_are_not_run() -> None:
    gate = Gate()
    runner = batcher(gate)
    runner.submit([1])
    assert gate.began.wait(PATIENCE)
    off, on = runner.submit([2, 3])
    assert off.cancel()
    gate.open.set()
    assert on.result(PATIENCE) == 30
    runner.close()
    assert gate.batches == [[1], [3]]
    assert runner.held == 0


def test_closing_finishes_accepted_jobs_and_accepts_no_more() -> None:
    gate = Gate()
    runner = batcher(gate)
    futures = runner.submit(list(range(10)))
    closing = threading.Thread(target=runner.close)
    closing.start()
    gate.open.set()
    closing.join(PATIENCE)
    assert [future.result(0) for future in futures] == [10 * job for job in range(10)]
    with pytest.raises(BusyError):
        runner.submit([1])
