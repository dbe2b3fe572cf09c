"""The metrics of a classifier: one table, each row a function of recorded predictions.

Everything that lists metrics derives from :data:`METRICS`: ``evaluate.json``, the parameters of
``gate``, ``headstart compare`` and ``gate``, the terminal, the report and the model card. To add a
metric, add a row and its function (and, if it can be a bound, its parameter to params.yaml).

NumPy is imported by the functions that need it: ``gate`` takes its parameters from the table, and
params.yaml is read without NumPy, so that a wrong value stops a run at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from headstart.evaluation.calibration import calibration
from headstart.evaluation.confusion import confusion_matrix, most_confused, per_class

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Ints = npt.NDArray[np.integer[Any]]
    Floats = npt.NDArray[np.floating[Any]]

Place = Literal["summary", "report", "compare", "card"]

#: Decimals of a recorded metric. The bits beyond them depend on the CPU's matrix product.
DIGITS = 9
_Z95 = 1.959963984540054  # the 0.975 quantile of the normal distribution
_EPSILON = 1e-7  # as in Keras
_SHARES = ("precision", "recall", "f1")


@dataclass(frozen=True)
class Scored:
    """The recorded predictions of one model, as the metrics take them.

    Attributes
    ----------
    labels : ndarray of shape (n,), int64
        Class indices; n ≥ 1.
    probabilities : ndarray of shape (n, n_classes), float64
    activation : "softmax" | "sigmoid"
        Of the head: ``sigmoid`` gives each class a separate probability.
    top_k : int
        With as many as there are classes, or more, there is no top-k accuracy: it would be 1.
    bins : int
        Bins of confidence, for the calibration.
    """

    labels: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]
    activation: str = "softmax"
    top_k: int = 1
    bins: int = 15

    @property
    def has_top_k(self) -> bool:
        """True if k is smaller than the number of classes."""
        return bool(self.top_k < self.probabilities.shape[1])

    @cached_property
    def predicted(self) -> npt.NDArray[np.int64]:
        """Index of the most probable class of each image; of equal ones the first."""
        found: npt.NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return found

    @cached_property
    def correct(self) -> int:
        """Images whose predicted class is their label."""
        return int((self.predicted == self.labels).sum())

    @cached_property
    def confusion(self) -> npt.NDArray[np.int64]:
        """Counts of shape (n_classes, n_classes): row = actual class, column = predicted class."""
        return confusion_matrix(self.labels, self.predicted, self.probabilities.shape[1])

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of the accuracy."""
        return wilson_interval(self.correct, len(self.labels))


@dataclass(frozen=True)
class Metric:
    """One row of the table.

    Attributes
    ----------
    key : str
        Name in ``evaluate.json``.
    title : str
        For people; ``{top_k}`` is filled in from the recorded metrics.
    compute : callable
        Value from :class:`Scored`; None where the metric is undefined, which leaves it out.
    better : "higher" | "lower"
    style : "percent" | "decimal"
        Format for people.
    largest : float or None
        Largest possible value; None: there is none. The smallest is 0.
    gate : bool
        True if ``gate.min_<key>`` (``max_`` where lower is better) is a bound.
    shown : set of str
        The places that list it, in addition to ``evaluate.json``.
    """

    key: str
    title: str
    compute: Callable[[Scored], float | None]
    better: Literal["higher", "lower"] = "higher"
    style: Literal["percent", "decimal"] = "percent"
    largest: float | None = 1.0
    gate: bool = False
    shown: frozenset[Place] = frozenset(("summary", "report", "compare", "card"))

    @property
    def bound(self) -> str:
        """Name of the gate's parameter for this metric."""
        return f"{'min' if self.better == 'higher' else 'max'}_{self.key}"

    @property
    def name(self) -> str:
        """The title within a sentence."""
        return self.title[0].lower() + self.title[1:]

    def heading(self, recorded: Mapping[str, Any]) -> str:
        """Return the title for a model's recorded metrics."""
        return self.title.format(top_k=recorded.get("top_k", "k"))

    def text(self, value: float) -> str:
        """Return a value as people read it: ``94.0 %`` or ``0.1234``."""
        return percent(value) if self.style == "percent" else f"{value:.4f}"


def percent(share: float) -> str:
    """Return a share as people read it: ``94.0 %``."""
    return f"{100 * share:.1f} %"


def listed(place: Place, recorded: Mapping[str, Any] | None = None) -> list[Metric]:
    """Return the metrics that a place lists; with ``recorded``, those that it holds."""
    return [m for m in METRICS if place in m.shown and (recorded is None or m.key in recorded)]


def measure(scored: Scored, classes: Sequence[str]) -> dict[str, Any]:
    """Return everything that is measured of one model, as JSON values.

    The lists (classes, confusions) keep their entries out of DVC's tables of metrics.
    """
    computed = {metric.key: metric.compute(scored) for metric in METRICS}
    each = per_class(scored.confusion)
    return {
        "correct": scored.correct,
        **({"top_k": scored.top_k} if scored.has_top_k else {}),
        **{key: round(value, DIGITS) for key, value in computed.items() if value is not None},
        "per_class": [
            {
                "label": name,
                **{key: round(float(getattr(each, key)[i]), DIGITS) for key in _SHARES},
                "support": int(each.support[i]),
            }
            for i, name in enumerate(classes)
        ],
        "most_confused": most_confused(scored.confusion, classes),
    }


def wilson_interval(correct: float, n: int, z: float = _Z95) -> tuple[float, float]:
    """Return the confidence interval of a share, by default of 95 %.

    Wilson's score interval: it stays within 0 and 1 and is not empty at either end, where the
    usual ± standard error is. (``scipy.stats`` has it, but takes over a second to import.)

    Parameters
    ----------
    correct, n : float, int
        Successes (a fraction, if they are an estimate), and trials; n ≥ 1.
    z : float
        Quantile of the normal distribution for half of the error.

    References
    ----------
    E. B. Wilson (1927), Probable inference, the law of succession, and statistical inference.
    Journal of the American Statistical Association 22, 209-212.
    """
    share, square = correct / n, z * z
    center = (share + square / (2 * n)) / (1 + square / n)
    half = z / (1 + square / n) * math.sqrt(share * (1 - share) / n + square / (4 * n * n))
    # At the ends, rounding would leave 1e-17 between the bound and 0 or 1.
    low = 0.0 if correct == 0 else max(0.0, center - half)
    high = 1.0 if correct == n else min(1.0, center + half)
    return low, high


def cross_entropy(scored: Scored) -> float:
    """Return the mean loss in nats.

    Categorical cross-entropy for ``softmax``; for ``sigmoid`` the binary cross-entropy of each
    class against the rest, averaged over the classes. As in Keras, a probability counts as at
    least 1e-7 away from 0 and 1, which is also the last recorded decimal: a confident mistake
    costs at most 16.1 nats.
    """
    import numpy as np

    from headstart.exact import log, log1p

    clipped = np.clip(scored.probabilities, _EPSILON, 1 - _EPSILON)
    own = clipped[np.arange(len(clipped)), scored.labels]
    if scored.activation == "softmax":
        return float(np.mean(-log(own)))
    others = log1p(-clipped).sum(axis=1) - log1p(-own)
    return float(np.mean(-(log(own) + others) / clipped.shape[1]))


def binary_accuracy(probabilities: Floats, labels: Ints) -> float:
    """Return the share of all outputs that are on the right side of one half, class by class.

    Keras calls this accuracy for sigmoids with a binary loss. It says little: with n classes, an
    answer of no for every one of them is right in all but one of n outputs.
    """
    import numpy as np

    wanted = labels[:, None] == np.arange(probabilities.shape[1])[None, :]
    return float(np.mean((probabilities > 0.5) == wanted))


def top_k_hits(probabilities: Floats, labels: Ints, k: int) -> int:
    """Return how many labels are among the k most probable classes.

    Of classes with equal probability the first come first, as in the predicted class.
    """
    import numpy as np

    own = probabilities[np.arange(len(labels)), labels][:, None]
    before = np.arange(probabilities.shape[1])[None, :] < labels[:, None]
    rank = (probabilities > own).sum(axis=1) + ((probabilities == own) & before).sum(axis=1)
    return int((rank < k).sum())


def macro_f1(scored: Scored) -> float:
    """Return the mean F1 of the classes that have test images."""
    each = per_class(scored.confusion)
    return float(each.f1[each.support > 0].mean())


def macro_auroc(scored: Scored) -> float | None:
    """Return the mean area under the ROC curve of each class against the rest.

    Undefined for a class without a test image, and for one that all test images have: such classes
    do not count. None if no class is left. Equal probabilities count as half in order.

    References
    ----------
    D. J. Hand, R. J. Till (2001), A simple generalisation of the area under the ROC curve for
    multiple class classification problems. Machine Learning 45, 171-186.
    """
    import numpy as np

    n, areas = len(scored.labels), []
    for i, column in enumerate(scored.probabilities.T):
        positive = scored.labels == i
        count = int(positive.sum())
        if 0 < count < n:
            _, place, times = np.unique(column, return_inverse=True, return_counts=True)
            ranks = (np.cumsum(times) - (times - 1) / 2)[place]
            above = ranks[positive].sum() - count * (count + 1) / 2
            areas.append(above / (count * (n - count)))
    return float(np.mean(areas)) if areas else None


def _of_sigmoids(value: Callable[[Scored], float]) -> Callable[[Scored], float | None]:
    return lambda scored: value(scored) if scored.activation == "sigmoid" else None


METRICS = (
    Metric("accuracy", "Accuracy", lambda s: s.correct / len(s.labels), gate=True),
    Metric(
        "accuracy_low", "Accuracy, lower end of the 95 % interval", lambda s: s.interval[0],
        gate=True, shown=frozenset(("compare",)),
    ),
    Metric(
        "accuracy_high", "Accuracy, upper end of the 95 % interval", lambda s: s.interval[1],
        shown=frozenset(("compare",)),
    ),
    Metric(
        "top_k_accuracy", "Top-{top_k} accuracy",
        lambda s: (
            top_k_hits(s.probabilities, s.labels, s.top_k) / len(s.labels) if s.has_top_k else None
        ),
        shown=frozenset(("summary", "report", "card")),
    ),
    Metric(
        "macro_f1", "Macro-averaged F1", macro_f1,
        gate=True, shown=frozenset(("report", "compare", "card")),
    ),
    Metric(
        "macro_auroc", "Macro-averaged AUROC, one-vs-rest", macro_auroc,
        style="decimal", gate=True, shown=frozenset(("report", "compare", "card")),
    ),
    Metric(
        "loss", "Loss", cross_entropy,
        better="lower", style="decimal", largest=None, gate=True,
    ),
    Metric(
        "expected_calibration_error", "Expected calibration error",
        lambda s: calibration(s.probabilities, s.labels, s.bins).error,
        better="lower", style="decimal", gate=True,
    ),
    Metric(
        "binary_accuracy", "Accuracy of the single outputs",
        _of_sigmoids(lambda s: binary_accuracy(s.probabilities, s.labels)),
        shown=frozenset(("report",)),
    ),
    Metric(
        "binary_accuracy_all_negative", "Accuracy of the single outputs, all negative",
        _of_sigmoids(lambda s: 1 - 1 / s.probabilities.shape[1]),
        shown=frozenset(),
    ),
)  # fmt: skip
