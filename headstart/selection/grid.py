"""The heads of a sweep: values by key of params.yaml, and the trials that they make."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from headstart._utils.errors import ParameterError
from headstart._utils.names import did_you_mean
from headstart._utils.seeds import derive, uniform
from headstart.api.checks import section
from headstart.features.store import canonical
from headstart.training.parameters import TrainHeadParams

HEAD, VIEWS = "train_head.", "extract_features.views"
_KEYS = (*(f"{HEAD}{key}" for key in TrainHeadParams.model_fields), VIEWS)
#: What is tried where nothing is asked for.
DEFAULT: Mapping[str, tuple[Any, ...]] = {
    "train_head.hidden": ([], [128]),
    "train_head.dropout": (0.0, 0.3),
    "train_head.learning_rate": (0.0003, 0.001, 0.003),
    "train_head.weight_decay": (0.1, 1.0, 5.0),
}
_LOSSES = {"softmax": "categorical_crossentropy", "sigmoid": "binary_crossentropy"}
_RANGE = re.compile(r"(\S+)\.\.(\S+)")
_MOST = 100_000


@dataclass(frozen=True)
class Range:
    """Positive numbers between two ends, drawn so that every factor is equally likely."""

    low: float
    high: float

    def drawn(self, share: float) -> float:
        """Return the number at a share of the way, with three digits."""
        log = math.log(self.low) + share * (math.log(self.high) - math.log(self.low))
        return self.rounded(math.exp(log))

    def rounded(self, number: float) -> float:
        """Return a number with three digits."""
        return float(f"{number:.3g}")


#: What is searched where nothing is asked for.
DEFAULT_RANGES: Mapping[str, tuple[Any, ...]] = {
    "train_head.hidden": ([], [128]),
    "train_head.dropout": (0.0, 0.3),
    "train_head.label_smoothing": (0.0, 0.1),
    "train_head.learning_rate": (Range(0.0001, 0.01),),
    "train_head.weight_decay": (Range(0.01, 10.0),),
}


@dataclass(frozen=True)
class Trial:
    """One head to train.

    Attributes
    ----------
    changes : mapping of str to object
        What differs from params.yaml, by key; empty for the head of params.yaml.
    params : TrainHeadParams
    views : int
        Augmented views of each training image that it learns from.
    """

    changes: Mapping[str, Any]
    params: TrainHeadParams
    views: int

    @property
    def identity(self) -> str:
        """The parameters as canonical JSON: the same for the same training."""
        return canonical({"train_head": self.params.model_dump(), "views": self.views})


def axes(
    assignments: Sequence[str], default: Mapping[str, tuple[Any, ...]] = DEFAULT
) -> dict[str, tuple[Any, ...]]:
    """Return the values to try by key.

    Parameters
    ----------
    assignments : sequence of str
        ``train_head.learning_rate=0.001,0.01``, ``train_head.hidden=[],[128]``, or with ends,
        ``train_head.learning_rate=0.0001..0.1``.
    default : mapping
        What is returned without any.

    Raises
    ------
    ParameterError
        If a key is unknown, or the values are no YAML.
    """
    if not assignments:
        return dict(default)
    found: dict[str, tuple[Any, ...]] = {}
    for entry in assignments:
        key, equals, text = entry.partition("=")
        if not equals or key not in _KEYS:
            hint = did_you_mean(key, _KEYS)
            raise ParameterError(
                f"A sweep sets a key of `train_head`, or {VIEWS}, as KEY=VALUE,VALUE. Got "
                f"{entry!r}.{hint} Nothing was trained."
            )
        found[key] = (*found.get(key, ()), *_values(key, text))
    return found


def _values(key: str, text: str) -> list[Any]:
    if ends := _RANGE.fullmatch(text):
        return [_range(key, text, *ends.groups())]
    try:
        values = YAML(typ="safe").load(f"[{text}]")
    except (YAMLError, ValueError):
        values = None
    if not values:
        raise ParameterError(
            f"The values of `{key}` must be YAML, separated by commas, as in `{key}=A,B`; lists in "
            f"brackets, as in `train_head.hidden=[],[128]`. Got {text!r}. Nothing was trained."
        )
    kind = TrainHeadParams.model_fields.get(key.removeprefix(HEAD))
    wants_float = kind is not None and kind.annotation is float
    return [float(each) if wants_float and type(each) is int else each for each in values]


def _range(key: str, text: str, *ends: str) -> Range:
    try:
        low, high = map(float, ends)
    except ValueError:
        low = high = 0.0
    is_float = key.startswith(HEAD) and (
        TrainHeadParams.model_fields[key.removeprefix(HEAD)].annotation is float
    )
    if not (is_float and 0 < low < high < math.inf):
        raise ParameterError(
            f"The range of `{key}` must be LOW..HIGH of a decimal number with 0 < LOW < HIGH, as "
            f"in `train_head.learning_rate=0.0001..0.1`. Got {text!r}. Nothing was trained."
        )
    return Range(low, high)


def trials(
    values: Mapping[str, Sequence[Any]],
    base: TrainHeadParams,
    views: int,
    count: int | None,
    seed: int,
) -> list[Trial]:
    """Return the trials: first the head of params.yaml, then the others in a seeded order.

    Parameters
    ----------
    values : mapping of str to sequence
        From :func:`axes`.
    base : TrainHeadParams
        The section of params.yaml.
    views : int
        Augmented views that are cached.
    count : int or None
        Draw so many, by the seed; None: all combinations.
    seed : int
        Of params.yaml.

    Raises
    ------
    ParameterError
        If a value is not allowed, there are more views than are cached, or a range has no count.
    """
    drawn = _drawn(values, count, seed)
    found = [Trial({}, base, views)]
    found += [trial_of(changes, base, views) for changes in drawn]
    distinct = {trial.identity: trial for trial in reversed(found)}
    return [distinct[trial.identity] for trial in found if distinct[trial.identity] is trial]


def _drawn(
    values: Mapping[str, Sequence[Any]], count: int | None, seed: int
) -> list[dict[str, Any]]:
    if any(isinstance(each, Range) for row in values.values() for each in row):
        if count is None:
            raise ParameterError(
                "A range has no end of values. Say how many heads to draw: `--trials 50`. Nothing "
                "was trained."
            )
        return [_pick(values, number, seed) for number in range(count)]
    size = math.prod(len(row) for row in values.values())
    if size > _MOST:
        raise ParameterError(
            f"The grid has {size:,} combinations; at most {_MOST:,} are possible. Leave out some "
            "values. Nothing was trained."
        )
    grid = list(itertools.product(*values.values()))
    order = np.random.Generator(np.random.Philox(key=derive(seed, "sweep"))).permutation(size)
    return [dict(zip(values, grid[place], strict=True)) for place in order[:count]]


def _pick(values: Mapping[str, Sequence[Any]], number: int, seed: int) -> dict[str, Any]:
    picked = {}
    for key, row in values.items():
        one = row[int(uniform(seed, "sweep", number, key) * len(row))]
        share = uniform(seed, "sweep", number, key, "range")
        picked[key] = one.drawn(share) if isinstance(one, Range) else one
    return picked


def pairs(values: Mapping[str, Sequence[Any]], base: TrainHeadParams, views: int) -> list[Trial]:
    """Return heads in which any two values of different keys meet.

    Keys restrict one another in pairs, so that a value that is not allowed is found before a search
    comes to it.

    Raises
    ------
    ParameterError
        If a value is not allowed, or there are more views than are cached.
    """
    rows = {
        key: [
            end
            for each in row
            for end in ((each.low, each.high) if isinstance(each, Range) else (each,))
        ]
        for key, row in values.items()
    }
    first = {key: row[0] for key, row in rows.items()}
    singles = [{**first, key: one} for key, row in rows.items() for one in row]
    couples = [
        {**first, key: one, other: two}
        for key, other in itertools.combinations(rows, 2)
        for one, two in itertools.product(rows[key], rows[other])
    ]
    return [trial_of(changes, base, views) for changes in singles + couples]


def trial_of(changes: Mapping[str, Any], base: TrainHeadParams, cached: int) -> Trial:
    """Return the head of params.yaml with some changes.

    Raises
    ------
    ParameterError
        If a value is not allowed, or there are more views than are cached.
    """
    own = {key.removeprefix(HEAD): each for key, each in changes.items() if key != VIEWS}
    if "activation" in own and "loss" not in own and own["activation"] in _LOSSES:
        own["loss"] = _LOSSES[own["activation"]]  # the only one that it can have
    params = section(TrainHeadParams, "sweep", {**base.model_dump(), **own})
    views = changes.get(VIEWS, cached)
    if type(views) is not int or not 0 <= views <= cached:
        raise ParameterError(
            f"`{VIEWS}` must be an integer from 0 to {cached}, the views that are cached. Got "
            f"{views!r} instead. Set it in params.yaml and run `dvc repro extract_features` for "
            "more. Nothing was trained."
        )
    before = {**base.model_dump(), "views": cached}
    after = {**params.model_dump(), "views": views}
    names = {name: VIEWS if name == "views" else f"{HEAD}{name}" for name in after}
    differing = {names[name]: each for name, each in after.items() if each != before[name]}
    return Trial(differing, params, views)
