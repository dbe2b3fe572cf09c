"""The confusion matrix: its counts, and the scores of each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Ints = npt.NDArray[np.integer[Any]]

_CONFUSIONS = 20  # pairs of classes that are named in the metrics


def confusion_matrix(labels: Ints, predicted: Ints, n_classes: int) -> npt.NDArray[np.int64]:
    """Return counts of shape (n_classes, n_classes): row = actual, column = predicted class."""
    import numpy as np

    flat = np.asarray(labels, np.int64) * n_classes + predicted
    return np.bincount(flat, minlength=n_classes * n_classes).reshape(n_classes, n_classes)


@dataclass(frozen=True)
class PerClass:
    """Precision, recall, F1 (shares; 0 where undefined) and support of each class."""

    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]
    f1: npt.NDArray[np.float64]
    support: npt.NDArray[np.int64]


def per_class(confusion: npt.NDArray[np.int64]) -> PerClass:
    """Return precision, recall and F1 of each class from a confusion matrix."""
    import numpy as np

    correct = np.diag(confusion).astype(np.float64)
    predicted, support = confusion.sum(axis=0), confusion.sum(axis=1)
    return PerClass(
        precision=shares(correct, predicted),
        recall=shares(correct, support),
        f1=shares(2 * correct, predicted + support),
        support=support,
    )


def most_confused(confusion: npt.NDArray[np.int64], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return the most frequent pairs of an actual and another predicted class."""
    import numpy as np

    wrong = confusion - np.diag(np.diag(confusion))
    pairs = sorted((-int(wrong[i, j]), int(i), int(j)) for i, j in np.argwhere(wrong))
    return [
        {"actual": classes[i], "predicted": classes[j], "count": -count}
        for count, i, j in pairs[:_CONFUSIONS]
    ]


def shares(part: npt.NDArray[Any], whole: Ints) -> npt.NDArray[np.float64]:
    """Return parts divided by wholes; 0 where the whole is."""
    import numpy as np

    found = np.zeros(len(part))
    np.divide(part, whole, out=found, where=whole > 0)
    return found
