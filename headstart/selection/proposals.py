"""Heads that Optuna's TPE sampler proposes, from how the heads before them did.

The sampler sees the validation images that :func:`headstart.selection.halves.guiding` names, and no
others, so that the rest of them can tell how good the chosen head is.

Heads are proposed in batches of a fixed size, and results are handed over in the order of the
proposals: which heads are proposed depends neither on the number of processes nor on what a journal
holds, and a longer search begins as a shorter one.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import HeadstartError
from headstart._utils.extras import needs_extra
from headstart._utils.seeds import derive
from headstart.selection.grid import Range, Trial, trial_of
from headstart.selection.trials import Result, identity_of
from headstart.training.parameters import TrainHeadParams

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial as Asked

#: Heads that are proposed before any of them is trained.
BATCH = 8
#: Heads that are drawn at random before the sampler learns from them.
_RANDOM = 15
#: Proposals in a row that were made before, after which there is nothing new to propose.
_REPEATED = 100


def require_optuna() -> None:
    """Refuse to go on without Optuna.

    Raises
    ------
    HeadstartError
        Naming the extra that installs it.
    """
    try:
        import_module("optuna")
    except ModuleNotFoundError as error:
        message = needs_extra("`--sampler tpe`", "optuna", "optuna")
        raise HeadstartError(f"{message} Nothing was trained.") from error


class Proposals:
    """A search: :meth:`ask` for heads, train them, :meth:`tell` their results.

    Parameters
    ----------
    values : mapping of str to sequence
        From :func:`headstart.selection.grid.axes`.
    base : TrainHeadParams
        The section of params.yaml; its head is the first one.
    views : int
        Augmented views that are cached.
    guides : ndarray of shape (n,), bool
        The validation images that the sampler sees.
    seed : int
        Of params.yaml.
    """

    def __init__(
        self,
        values: Mapping[str, Sequence[Any]],
        base: TrainHeadParams,
        views: int,
        guides: npt.NDArray[np.bool_],
        seed: int,
    ) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            # Both options are "experimental" in Optuna 4.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                n_startup_trials=_RANDOM, seed=derive(seed, "sweep", "tpe") % 2**32,
                multivariate=True, constant_liar=True,
            )  # fmt: skip
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._values, self._base, self._views, self._guides = values, base, views, guides
        self._space = _space(values)
        self._asked: dict[str, Asked | None] = {}

    def ask(self, count: int) -> list[Trial]:
        """Return so many heads that were not proposed before, or fewer if there are no more."""
        found: list[Trial] = []
        if count and not self._asked:
            found.append(Trial({}, self._base, self._views))
            self._asked[identity_of(found[0])] = None
        repeated = 0
        while len(found) < count and repeated < _REPEATED:
            asked = self._study.ask(self._space)
            trial = trial_of(self._picked(asked.params), self._base, self._views)
            identity = identity_of(trial)
            if identity in self._asked:
                self._forget(asked)
                repeated += 1
                continue
            self._asked[identity] = asked
            found.append(trial)
            repeated = 0
        return found

    def tell(self, batch: Sequence[Trial], results: Mapping[str, Result]) -> None:
        """Let the sampler learn from the results of a batch."""
        for trial in batch:
            identity = identity_of(trial)
            if (asked := self._asked[identity]) is not None:
                self._study.tell(asked, self._worth(results[identity]))

    def _picked(self, params: Mapping[str, Any]) -> dict[str, Any]:
        picked = {}
        for key, row in self._values.items():
            place = params.get(key, 0)
            one = row[place]
            picked[key] = one.rounded(params[_range_name(key, place)]) if _is_range(one) else one
        return picked

    def _forget(self, asked: Asked) -> None:
        from optuna.trial import TrialState

        self._study.tell(asked, state=TrialState.FAIL)

    def _worth(self, result: Result) -> float:
        """Return a number that orders results: by accuracy, then by loss, on the guiding images.

        One that was stopped is behind those that were trained, and one that diverged behind all.
        """
        images = len(self._guides)
        if result.outcome == "failed":
            return -images - 3.0
        if result.outcome == "stopped":
            return -images - 2.0 + result.course[-1]
        wrong = int((~result.correct(images) & self._guides).sum())
        loss = result.guiding_loss or 0.0
        return -wrong - loss / (1.0 + loss)


def _is_range(value: Any) -> bool:
    return isinstance(value, Range)


def _range_name(key: str, place: int) -> str:
    return f"{key}[{place}]"


def _space(values: Mapping[str, Sequence[Any]]) -> dict[str, BaseDistribution]:
    """Return what is drawn: the place of a value in its row, and a number for each range."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    space: dict[str, BaseDistribution] = {}
    for key, row in values.items():
        if len(row) > 1:
            space[key] = CategoricalDistribution(tuple(range(len(row))))
        for place, one in enumerate(row):
            if isinstance(one, Range):
                space[_range_name(key, place)] = FloatDistribution(one.low, one.high, log=True)
    return space
