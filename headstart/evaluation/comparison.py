"""Compare two models on the same images, and test whether their difference may be chance."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class McNemar:
    """Probabilities of the discordant pairs, if both models were correct equally often.

    Attributes
    ----------
    p : float
        Two-sided: of a difference as large as this or larger, either way.
    p_worse : float
        One-sided: of the second model being behind by this much or more.
    """

    p: float
    p_worse: float


@dataclass(frozen=True)
class Paired:
    """Counts of the images that both test sets share, with the test on them.

    Attributes
    ----------
    first, second : int
        Images in each test set, each counted once, however many copies there are.
    alone : int
        Images of only one of them.
    both, first_only, second_only, neither : int
        Shared images by which of the models is correct.
    relabeled : int
        Shared images that have another label in the first test set.
    test : McNemar
    """

    first: int
    second: int
    alone: int
    both: int
    first_only: int
    second_only: int
    neither: int
    relabeled: int
    test: McNemar

    @property
    def shared(self) -> int:
        """Images that both were tested on."""
        return self.both + self.first_only + self.second_only + self.neither


def mcnemar(first_only: int, second_only: int) -> McNemar:
    """Return McNemar's exact test of two counts of discordant pairs.

    Parameters
    ----------
    first_only, second_only : int
        Images on which only the first, or only the second, model is correct.

    References
    ----------
    Q. McNemar (1947), Note on the sampling error of the difference between correlated proportions
    or percentages. Psychometrika 12, 153-157. The exact test is the sign test of the pairs.
    """
    # A third of the import time of scipy.stats, whose binomtest calls the same function.
    from scipy.special import bdtr

    n = first_only + second_only
    fewer, behind = (float(bdtr(k, n, 0.5)) for k in (min(first_only, second_only), second_only))
    return McNemar(min(1.0, 2 * fewer), behind)


def paired(first: pd.DataFrame, second: pd.DataFrame, *, relabeled: bool = True) -> Paired:
    """Match two sets of predictions image by image, and judge both by the labels of the second.

    Parameters
    ----------
    first, second : DataFrame
        ``image_id``, ``label`` and ``predicted``, a row per test image. An image counts once for
        each label that it has; images of only one of the two test sets do not count.
    relabeled : bool
        Whether images count that have another label in the first set. It matters whose mistakes
        were looked at before they were relabeled: those of the first model turn into its successes.
    """
    keys = ["image_id", "label"]
    one, two = (frame[[*keys, "predicted"]].drop_duplicates(keys) for frame in (first, second))
    guesses = one.drop_duplicates("image_id").set_index("image_id")["predicted"]
    both = two[two["image_id"].isin(guesses.index)]
    same = both.merge(one[keys], on=keys, how="left", indicator=True)["_merge"].eq("both")
    kept = both if relabeled else both[same.to_numpy()]
    right = kept["image_id"].map(guesses) == kept["label"]
    too = kept["predicted"] == kept["label"]
    first_only, second_only = int((right & ~too).sum()), int((~right & too).sum())
    ids = set(one["image_id"]), set(two["image_id"])
    return Paired(
        first=len(ids[0]),
        second=len(ids[1]),
        alone=len(ids[0] ^ ids[1]),
        both=int((right & too).sum()),
        first_only=first_only,
        second_only=second_only,
        neither=int((~right & ~too).sum()),
        relabeled=int((~same).sum()),
        test=mcnemar(first_only, second_only),
    )


def p_text(p: float) -> str:
    """Return a p-value for people: three places, or a power of ten where these would be zeros."""
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1e}"
