"""A sweep over heads on cached features, by several processes; no image is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headstart._utils import locks
from headstart._utils.progress import Progress, progress
from headstart._utils.workers import worker_processes
from headstart.evaluation.comparison import McNemar, mcnemar
from headstart.selection import trials as work
from headstart.selection.grid import Trial
from headstart.selection.journal import Journal
from headstart.selection.optimism import Estimate, without_optimism
from headstart.selection.proposals import BATCH, Proposals
from headstart.selection.trials import POINTS, Result

#: Trials that are never stopped and that the others must keep up with: at least so many, and this
#: share of all.
_REFERENCES, _REFERENCE_SHARE = 6, 0.1


@dataclass(frozen=True, eq=False)
class Ranked:
    """A trial with its result, both of this sweep."""

    trial: Trial
    result: Result
    right: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Found:
    """The results of a sweep.

    Attributes
    ----------
    trials : sequence of Trial
        The first is the head of params.yaml.
    results : mapping of str to Result
        By the trial's identity.
    images : int
        Validation images.
    recorded : int
        Results that an earlier sweep had found.
    seed : int
        Of params.yaml.
    guides : ndarray of shape (images,), bool, or None
        The images that a sampler has seen; None: the trials were fixed beforehand.
    """

    trials: Sequence[Trial]
    results: Mapping[str, Result]
    images: int
    recorded: int
    seed: int
    guides: npt.NDArray[np.bool_] | None = None

    def count(self, outcome: str) -> int:
        """Return the number of trials with this outcome."""
        return sum(result.outcome == outcome for result in self.results.values())

    @cached_property
    def ranking(self) -> list[Ranked]:
        """The trained heads: the most accurate first, of equal ones that with the lowest loss."""
        found = [(trial, self.results[work.identity_of(trial)]) for trial in self.trials]
        ranked = [
            Ranked(trial, result, result.correct(self.images))
            for trial, result in found
            if result.outcome == "trained"
        ]
        return sorted(ranked, key=lambda one: (-int(one.right.sum()), one.result.log_loss or 0.0))

    @property
    def current(self) -> Ranked | None:
        """The head of params.yaml; None if its training failed."""
        return next((one for one in self.ranking if one.trial is self.trials[0]), None)

    def estimate(self) -> Estimate:
        """Return the accuracy to expect of the best on new images."""
        fresh = None if self.guides is None else ~self.guides
        return without_optimism(np.stack([one.right for one in self.ranking]), self.seed, fresh)

    @property
    def fresh(self) -> int:
        """The number of images that the estimate rests on."""
        return self.images if self.guides is None else int((~self.guides).sum())

    def against_current(self) -> McNemar | None:
        """Return McNemar's test of the best against the head of params.yaml."""
        best, current = self.ranking[0], self.current
        if current is None or current is best:
            return None
        return mcnemar(
            int((current.right & ~best.right).sum()), int((best.right & ~current.right).sum())
        )


def sweep(
    folder: Path, journal: Journal, trials: Sequence[Trial], images: int, processes: int, seed: int
) -> Found:
    """Train the heads that the journal lacks.

    Parameters
    ----------
    folder : Path
        The features folder.
    journal : Journal
    trials : sequence of Trial
        The first ones are the reference of the others.
    images : int
        Validation images.
    processes : int
    seed : int
        Of params.yaml.
    """
    with _running(folder, journal, len(trials), images, processes, seed) as run:
        first = trials[: max(_REFERENCES, int(_REFERENCE_SHARE * len(trials)))]
        rest = trials[len(first) :]
        results = run.all(first, ())
        results |= run.all(rest, _reference(list(results.values())))
        return Found(trials, results, images, run.recorded, seed)


def search(
    folder: Path,
    journal: Journal,
    proposals: Proposals,
    count: int,
    guides: npt.NDArray[np.bool_],
    processes: int,
    seed: int,
) -> Found:
    """Train heads that a sampler proposes, in batches; the first batch is the others' reference.

    Parameters
    ----------
    folder : Path
        The features folder.
    journal : Journal
    proposals : Proposals
        Sees the validation images ``guides``.
    count : int
        Heads in all.
    guides : ndarray of shape (n,), bool
    processes, seed
        As for :func:`sweep`.
    """
    trials, results, reference = list[Trial](), dict[str, Result](), tuple[float, ...]()
    with _running(folder, journal, count, len(guides), processes, seed) as run:
        while batch := proposals.ask(min(BATCH, count - len(trials))):
            found = run.all(batch, reference)
            proposals.tell(batch, found)
            trials += batch
            results |= found
            reference = reference or _reference(list(found.values()))
    return Found(trials, results, len(guides), run.recorded, seed, guides)


@contextmanager
def _running(
    folder: Path, journal: Journal, total: int, images: int, processes: int, seed: int
) -> Iterator[_Run]:
    """Yield what trains heads, while no other sweep does on these features."""
    journal.path.parent.mkdir(parents=True, exist_ok=True)
    busy = "Another sweep (process {holder}) is training on these features. Waiting for it …"
    with (
        locks.exclusive_lock(journal.path.with_suffix(".lock"), busy),
        worker_processes(processes, work.open_features, folder) as pool,
        progress(total=total, desc="Heads", unit="head") as bar,
    ):
        yield _Run(pool, journal, journal.read(), images, seed, bar)


def _reference(results: Sequence[Result]) -> tuple[float, ...]:
    """Return the median course of the reference trials; each holds its last value to the end."""
    courses = [
        [*each.course, *[each.course[-1]] * (POINTS - len(each.course))]
        for each in results
        if each.outcome == "trained" and each.course
    ]
    return tuple(float(each) for each in np.median(courses, axis=0)) if courses else ()


@dataclass
class _Run:
    """What the parts of a sweep share."""

    pool: ProcessPoolExecutor
    journal: Journal
    known: Mapping[str, Result]
    images: int
    seed: int
    bar: Progress
    recorded: int = 0

    def all(self, trials: Sequence[Trial], reference: tuple[float, ...]) -> dict[str, Result]:
        """Return the results of some trials by identity; train those that are not recorded."""
        results: dict[str, Result] = {}
        waiting: dict[Future[Result], str] = {}
        for trial in trials:
            identity = work.identity_of(trial)
            found = self._recorded(identity, reference)
            if found is None:
                waiting[self.pool.submit(work.train, trial, self.seed, reference)] = identity
                continue
            results[identity] = found
            self.recorded += 1
            self.bar.update()
        for done in as_completed(waiting):
            results[waiting[done]] = result = done.result()
            self.journal.add(result)
            self.bar.update()
        return results

    def _recorded(self, identity: str, reference: tuple[float, ...]) -> Result | None:
        """Return the recorded result, as it is beside this reference; None: train it.

        A result is the same whether it comes from the journal or from a training.
        """
        found = self.known.get(identity)
        if found is None or found.outcome == "failed":
            return found
        points = range(1, len(found.course) + 1)
        hopeless = [n for n in points if work.is_hopeless(found.course[:n], reference, self.images)]
        if found.outcome == "stopped" and not hopeless:
            return None
        if hopeless:
            course = found.course[: hopeless[0]]
            return Result(
                identity=identity, outcome="stopped", course=course, seconds=found.seconds
            )
        return found
