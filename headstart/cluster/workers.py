"""The workers of a cluster, as the driver sees them: who is free, who has ended, who is silent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from headstart.cluster.chunks import Chunk

#: Chunks that a thread of a worker has: one that it computes, and one that waits for it.
_IN_FLIGHT = 2
#: Seconds between two looks at who is connected.
_PERIOD = 1.0


class SchedulerLostError(Exception):
    """The scheduler has ended, or does not answer."""


class LostError(Exception):
    """A task has no result, because its worker or the way to it is gone."""


class Pending(Protocol):
    """A task that a worker was given."""

    def outcome(self, timeout: float) -> Any:
        """Return the task's result or raise its exception; raise LostError if there is neither."""

    def release(self) -> None:
        """Let the cluster forget the task and its result."""


class Connection(Protocol):
    """The way to a cluster: :class:`headstart.cluster.connection.Dask`.

    Attributes
    ----------
    name : str
        Its address, or ``local``.
    remedy : str
        A sentence without its period: what to do if it has no workers.
    """

    name: str
    remedy: str

    def threads(self) -> Mapping[str, int]:
        """Return the threads of each connected worker, by its address.

        Raises
        ------
        SchedulerLostError
        """

    def submit(
        self, worker: str, ended: Callable[[Pending], None], function: Any, *arguments: Any
    ) -> Pending:
        """Let a worker call a function; ``ended`` is called, in any thread, when it has ended."""


@dataclass(frozen=True)
class Patience:
    """Seconds to wait before others get the work.

    Attributes
    ----------
    first : float
        For the first answer of a worker, which loads packages and the network.
    answer : float
        For any later one, or ten times as long as its slowest took if that is more.
    workers : float
        For a worker that answers, while there is none.
    """

    first: float = 120.0
    answer: float = 30.0
    workers: float = 60.0


class Sent(NamedTuple):
    """What a worker was given: a chunk, or the network if there is none."""

    chunk: Chunk | None
    contents: bool
    since: float


@dataclass(eq=False)
class Worker:
    """A connected worker.

    Attributes
    ----------
    address : str
    threads : int
    heard : float
        When it answered last, or was given something to do.
    sent : dict of Pending to Sent
        What it has not answered.
    accepted : list of bytes
        Keys of its features that are recorded.
    unchecked : int or None
        Passes since one was computed a second time; None: none ever was.
    seconds_per_pass : float or None
        None before its first features.
    silent : bool
        It did not answer in time: others have its chunks, and it gets no more until it answers.
    needs_bytes, given_network : bool
        It cannot read the shards; it was sent the network.
    """

    address: str
    threads: int
    heard: float
    sent: dict[Pending, Sent] = field(default_factory=dict)
    accepted: list[bytes] = field(default_factory=list)
    unchecked: int | None = None
    seconds_per_pass: float | None = None
    silent: bool = False
    needs_bytes: bool = False
    given_network: bool = False
    slowest: float = 0.0

    @property
    def load(self) -> float:
        """What it has in relation to what it may have; 1 and more is enough."""
        if self.seconds_per_pass is None:  # One at a time, until it is known to compute.
            return float(len(self.sent))
        return len(self.sent) / (_IN_FLIGHT * self.threads)

    def give(self, pending: Pending, sent: Sent) -> None:
        """Note that it was given something."""
        if not self.sent:
            self.heard = sent.since
        self.sent[pending] = sent

    def answered(self, pending: Pending) -> Sent:
        """Note that it has answered, and return what."""
        sent, now = self.sent.pop(pending), time.monotonic()
        self.slowest = max(self.slowest, now - max(sent.since, self.heard))
        self.heard, self.silent = now, False
        return sent


class Workers:
    """All workers of a cluster, but those that were dismissed.

    Parameters
    ----------
    connection : Connection
    patience : Patience

    Attributes
    ----------
    dismissed : dict of str to str
        The reason by the address.
    idle_since : float or None
        Since when no worker that answers is connected.
    """

    def __init__(self, connection: Connection, patience: Patience) -> None:
        self._connection, self._patience = connection, patience
        self._known: dict[str, Worker] = {}
        self._looked = float("-inf")
        self.dismissed: dict[str, str] = {}
        self.idle_since: float | None = None

    def __iter__(self) -> Iterator[Worker]:
        return iter(list(self._known.values()))

    @property
    def threads(self) -> int:
        """The threads of those that answer."""
        return sum(worker.threads for worker in self if not worker.silent)

    def look(self) -> list[Worker]:
        """Look who is connected, once a second; return those that ended."""
        now = time.monotonic()
        if now - self._looked < _PERIOD:
            return []
        threads = self._connection.threads()
        self._looked = now
        ended = [worker for address, worker in self._known.items() if address not in threads]
        for worker in ended:
            del self._known[worker.address]
        for address, count in threads.items():
            if address not in self._known and address not in self.dismissed:
                self._known[address] = Worker(address, max(1, count), now)
        if any(not worker.silent for worker in self):
            self.idle_since = None
        elif self.idle_since is None:
            self.idle_since = now
        return ended

    def fallen_silent(self) -> list[Worker]:
        """Return the workers whose patience has just run out, and mark them."""
        now = time.monotonic()
        found = [w for w in self if w.sent and not w.silent and now - w.heard > self._limit(w)]
        for worker in found:
            worker.silent = True
        return found

    def free(self) -> Worker | None:
        """Return the worker with the least to do; None if all have enough."""
        free = [worker for worker in self if not worker.silent and worker.load < 1]
        return min(free, key=lambda worker: worker.load, default=None)

    def dismiss(self, worker: Worker, reason: str) -> None:
        """Give a worker no more work."""
        self._known.pop(worker.address, None)
        self.dismissed[worker.address] = reason

    def _limit(self, worker: Worker) -> float:
        if worker.seconds_per_pass is None:
            return self._patience.first
        return max(self._patience.answer, 10 * worker.slowest)
