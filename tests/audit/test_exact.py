"""Sums that are exact, so that no CPU, thread or order of images changes a result."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.audit.doubt import fit_judge, wrong
from headstart.audit.drift import auroc
from headstart.audit.forecast import forecast
from headstart.audit.learning_curve import Curve
from headstart.audit.moments import BLOCKS, FOLDS, Moments, deal, discriminant
from headstart.audit.neighbors import neighbor_shares
from headstart.audit.vectors import WIDTH, directions, whole_numbers


def points(rows: int, *shape: int, seed: int = 0) -> np.ndarray:
    random = np.random.Generator(np.random.Philox(key=seed))
    return (random.normal(size=(rows, *shape)) ** 3).astype(np.float32)


def test_whole_numbers_are_standard_units_of_512() -> None:
    found = whole_numbers([points(3000, 7)], 1)
    assert np.allclose(found.mean(axis=0) / 512, 0, atol=0.05)
    assert np.allclose(found.std(axis=0) / 512, 1, atol=0.1)


def test_a_feature_that_never_changes_says_nothing() -> None:
    made = points(50, 3)
    made[:, 1] = 0.1
    assert not whole_numbers([made], 1)[:, 1].any()


def test_the_last_part_changes_no_number_of_the_others() -> None:
    first, last = points(40, 5), points(30, 5, seed=1)
    alone = whole_numbers([first], 1)
    assert (whole_numbers([first, 50 * last], 1)[:40] == alone).all()


def test_maps_are_averaged_and_wide_features_folded() -> None:
    maps = points(20, 2, 2, 6)
    assert (
        whole_numbers([maps], 1) == whole_numbers([maps.mean(axis=(1, 2), dtype=float)], 1)
    ).all()
    wide = whole_numbers([points(60, 2 * WIDTH + 5)], 1)
    assert wide.shape == (60, WIDTH)
    assert 0.5 < wide.std() / 512 < 1.5


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_products_of_directions_are_exact_in_float32(seed: int) -> None:
    values = whole_numbers([points(8, 300, seed=seed)], 1)
    found = directions(values)
    assert (found @ found.T == found.astype(np.float64) @ found.astype(np.float64).T).all()
    assert (found @ found.T <= 2.0**24).all()


def test_sums_do_not_depend_on_their_order() -> None:
    values, labels = whole_numbers([points(5000, 12)], 1), np.arange(5000) % 4
    order = np.random.Generator(np.random.Philox(key=3)).permutation(5000)
    one, other = Moments.of(values, labels, 4), Moments.of(values[order], labels[order], 4)
    halves = Moments.total(
        [Moments.of(values[part], labels[part], 4) for part in (slice(2000), slice(2000, None))]
    )
    for each in (other, halves):
        assert all(
            (a == b).all() for a, b in zip(vars(one).values(), vars(each).values(), strict=True)
        )


def test_blocks_are_even_in_each_class_and_hold_groups_together() -> None:
    labels = np.repeat([0, 1], [200, 40])
    groups = [f"g{row // 3}" if row < 60 else str(row) for row in range(240)]
    blocks = deal(labels, groups, 42)
    for label, each in ((0, 10), (1, 2)):
        counts = np.bincount(blocks[labels == label], minlength=BLOCKS)
        assert counts.max() - counts.min() <= 3, each
    assert all(len(set(blocks[3 * g : 3 * g + 3])) == 1 for g in range(20))
    folds = np.bincount(deal(np.zeros(5, np.int64), list("abcde"), 1) % FOLDS, minlength=FOLDS)
    assert folds.tolist() == [1] * FOLDS


def test_a_class_without_images_is_never_predicted() -> None:
    values, labels = whole_numbers([points(60, 5)], 1), np.arange(60) % 2
    logits = discriminant(Moments.of(values, labels, 3)).logits(values.astype(np.float64))
    assert (logits[:, 2] < -1e8).all()
    assert np.isfinite(logits).all()


def test_neighbors_leave_out_the_image_and_its_copies() -> None:
    made = points(40, 6)
    made[1] = made[0]
    made[2] = made[0] + np.float32(0.2) * made[3]
    values, labels = whole_numbers([made], 1), np.arange(40) % 2
    codes = np.arange(40)
    assert neighbor_shares(values, codes, labels, 2, 1, 0)[0].tolist() == [0.0, 1.0]
    codes[1] = 0
    assert neighbor_shares(values, codes, labels, 2, 1, 0)[0].tolist() == [1.0, 0.0]


def test_of_few_references_an_image_of_its_own_group_is_none() -> None:
    values = whole_numbers([points(30, 6)], 1)
    labels = np.repeat([0, 1], [25, 5])
    group = np.where(np.arange(30) < 25, 0, np.arange(30))
    shares = neighbor_shares(values, group, labels, 2, 10, 1)
    assert (shares[:25, 1] == 1).all(), "the five others are all that there is"
    alone = neighbor_shares(values, np.zeros(30, np.int64), labels, 2, 10, 1)
    assert not alone.any(), "nobody is a neighbor"


def test_the_rate_of_wrong_labels_is_found() -> None:
    random = np.random.Generator(np.random.Philox(key=5))
    actual = random.integers(0, 4, 4000)
    logits = random.normal(size=(4000, 4))
    logits[np.arange(4000), actual] += 4
    given = np.where(random.random(4000) < 0.1, (actual + random.integers(1, 4, 4000)) % 4, actual)
    judge = fit_judge([logits, np.zeros((4000, 4))], given)
    assert 0.08 < judge.rate < 0.12
    against, suggested = judge.doubts(judge.combined([logits, np.zeros((4000, 4))]), given)
    chance = wrong(against)
    assert chance[given != actual].mean() > 0.7
    assert chance[given == actual].mean() < 0.05
    assert abs(chance.sum() - (given != actual).sum()) < 60
    assert (suggested != given).all()
    assert (suggested == actual)[given != actual].mean() > 0.9


def test_labels_that_confuse_two_classes_alone_give_their_pair_the_noise() -> None:
    random = np.random.Generator(np.random.Philox(key=6))
    actual = random.integers(0, 4, 4000)
    logits = random.normal(size=(4000, 4))
    logits[np.arange(4000), actual] += 3
    given = np.where((actual == 1) & (random.random(4000) < 0.2), 2, actual)
    judge = fit_judge([logits, np.zeros((4000, 4))], given)
    assert 0.15 < judge.noise[1, 2] < 0.25
    off = judge.noise - np.diag(judge.noise.diagonal())
    off[1, 2] = 0
    assert off.max() < 0.02
    against, _ = judge.doubts(judge.combined([logits, np.zeros((4000, 4))]), given)
    assert abs(wrong(against).sum() - (given != actual).sum()) < 40


def test_the_area_under_the_curve_counts_ties_half() -> None:
    assert auroc(np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.0, 1.0])) == 1
    assert auroc(np.array([1.0, 1.0]), np.array([0.0, 1.0])) == 0.5


def test_a_forecast_holds_a_law_with_a_limit_in_its_band() -> None:
    sizes = np.array([50.0, 100, 200, 400, 800])
    for limit in (0.0, 0.04):
        law = limit + 0.9 * sizes**-0.5
        curve = Curve(sizes, law, np.full(5, 0.002), tested=1000)
        for size, band in zip((1600, 3200), forecast(curve, [1600, 3200]), strict=True):
            assert band.low <= limit + 0.9 * size**-0.5 <= band.high
            assert band.low < band.error < band.high


def test_no_error_at_all_is_within_the_band_of_no_error() -> None:
    curve = Curve(np.array([10.0, 20, 40]), np.array([0.02, 0.0, 0.0]), np.zeros(3), tested=100)
    band = forecast(curve, [80])[0]
    assert band.low == 0
    assert 0 < band.high < 0.1
