"""Work in threads: results in order, few items at a time, no work for nobody."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from headstart._utils import threads
from headstart._utils.threads import in_threads


def test_results_come_in_the_order_of_the_items() -> None:
    def slow_first(item: int) -> int:
        time.sleep(0.05 if item == 0 else 0)
        return item * item

    assert list(in_threads(slow_first, range(5), workers=3)) == [(n, n * n) for n in range(5)]
    assert list(in_threads(slow_first, ())) == []


def counting(taken: list[int]) -> Iterator[int]:
    for item in range(100):
        taken.append(item)
        yield item


def test_few_items_are_taken_ahead() -> None:
    taken: list[int] = []
    with closing(in_threads(str, counting(taken), workers=2, window=4)) as results:
        assert next(results) == (0, "0")
        assert len(taken) == 5


def test_large_items_are_taken_ahead_by_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_WINDOW_BYTES", 30)
    taken: list[int] = []
    with closing(in_threads(str, counting(taken), workers=2, size=lambda _: 10)) as results:
        assert next(results) == (0, "0")
        assert len(taken) == 4
    one = in_threads(str, [7], workers=1, size=lambda _: 1000)
    assert list(one) == [(7, "7")], "an item above the bound is let through"


def test_an_error_is_raised_at_its_place_and_ends_the_work() -> None:
    ran = []

    def fails_at_one(item: int) -> int:
        ran.append(item)
        if item == 1:
            raise ValueError("one")
        return item

    results = in_threads(fails_at_one, range(1000), workers=1, window=3)
    assert next(results) == (0, 0)
    with pytest.raises(ValueError, match="one"):
        next(results)
    assert len(ran) < 10


def test_an_abandoned_generator_runs_nothing_more() -> None:
    ran = []

    def slow(item: int) -> int:
        time.sleep(0.01)
        ran.append(item)
        return item

    with closing(in_threads(slow, range(1000), workers=1, window=50)) as results:
        next(results)
    count = len(ran)
    time.sleep(0.05)
    assert len(ran) == count < 50
