"""Batches of jobs from many requests, run by a few threads, with a limit on waiting jobs.

A free thread takes the waiting jobs, up to a batch; ``max_wait`` makes it wait for a full one. The
number of jobs that wait or run is limited: a request without room is refused at once, because an
answer after the client's time limit helps nobody.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


class BusyError(Exception):
    """There is no room for more jobs now."""


class Batcher(Generic[Job, Result]):
    """Run jobs in batches.

    Parameters
    ----------
    run : callable
        From jobs to their results, in the same order; a result that is an exception is raised in
        the request that waits for it. Called from several threads.
    threads : int
        Batches that run at the same time.
    max_batch : int
        Jobs per call.
    max_wait : float
        Seconds that a job waits for others to fill its batch.
    room : int
        Maximum number of jobs that wait or run.
    seen : callable, optional
        Called with the size of every batch.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Job]], Sequence[Result | Exception]],
        *,
        threads: int,
        max_batch: int,
        max_wait: float,
        room: int,
        seen: Callable[[int], None] | None = None,
    ) -> None:
        self._run, self._seen = run, seen
        self._max_batch, self._max_wait, self._room = max_batch, max_wait, room
        self._waiting: deque[tuple[Job, Future[Result]]] = deque()
        self._change = threading.Condition()
        self._held = 0
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"batch-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def held(self) -> int:
        """Number of jobs that wait or run."""
        return self._held

    def submit(self, jobs: Sequence[Job]) -> list[Future[Result]]:
        """Accept all of the jobs, or none of them.

        Raises
        ------
        BusyError
            If there is no room for all of them, or it is closed.
        """
        with self._change:
            if self._closed or self._held + len(jobs) > self._room:
                raise BusyError
            entries = [(job, Future[Result]()) for job in jobs]
            self._waiting.extend(entries)
            self._held += len(entries)
            self._change.notify(len(entries))
        return [future for _, future in entries]

    def close(self) -> None:
        """Finish the accepted jobs, and accept no more."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while batch := self._take():
            if self._seen is not None:
                self._seen(len(batch))
            try:
                results = self._run([job for job, _ in batch])
            except Exception as error:  # noqa: BLE001 - the waiting request gets it; the thread goes on
                results = [error] * len(batch)
            for (_, future), result in zip(batch, results, strict=True):
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)
            with self._change:
                self._held -= len(batch)

    def _take(self) -> list[tuple[Job, Future[Result]]]:
        """Return the next batch; empty if it is closed and nothing waits."""
        batch: list[tuple[Job, Future[Result]]] = []
        with self._change:
            while not self._waiting and not self._closed:
                self._change.wait()
            deadline = time.monotonic() + self._max_wait
            while True:
                while self._waiting and len(batch) < self._max_batch:
                    entry = self._waiting.popleft()
                    if entry[1].set_running_or_notify_cancel():
                        batch.append(entry)
                    else:
                        self._held -= 1
                left = deadline - time.monotonic()
                if len(batch) >= self._max_batch or self._closed or left <= 0:
                    break
                self._change.wait(left)
        if not batch and not self._closed:  # All waiting jobs were cancelled.
            return self._take()
        return batch
