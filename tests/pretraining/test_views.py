from __future__ import annotations

import numpy as np
import pytest

from pretraining.views import draw_views, targets, whole
from tests.pretraining.test_train import RECIPE


def test_a_view_depends_on_seed_and_epoch_alone() -> None:
    one, same, later = (draw_views(50, RECIPE, 1, epoch) for epoch in (3, 3, 4))
    assert (one.boxes == same.boxes).all()
    assert (one.colors == same.colors).all()
    assert (one.boxes != later.boxes).any()


def test_crops_lie_inside_and_are_as_large_as_asked() -> None:
    views = draw_views(2000, RECIPE, 1, 1)
    top, left, bottom, right = views.boxes.T
    assert (views.boxes > -1e-6).all()
    assert (views.boxes < 1 + 1e-6).all()
    area = (bottom - top) * abs(right - left)
    # A crop that is stretched beyond the image is cut off at its edge.
    assert area.min() > RECIPE.least_area * 3 / 4
    assert 0.4 < (left > right).mean() < 0.6


def test_gray_images_are_gray_and_grays_stay_gray() -> None:
    views = draw_views(2000, RECIPE, 1, 1)
    gray = np.isclose(views.colors[:, :, 0], views.colors[:, :, 1]).all(axis=1)
    assert gray.mean() == pytest.approx(RECIPE.gray, abs=0.03)
    mixed = np.ones((2000, 1, 3), np.float32) @ views.colors
    assert np.ptp(mixed, axis=2).max() < 1e-5


def test_the_target_of_a_crop_is_the_mean_of_the_map_over_it() -> None:
    maps = np.arange(16, dtype=np.float16).reshape(1, 4, 4, 1)
    boxes = np.array(
        [[0, 0, 1, 1], [0, 0, 0.5, 0.25], [0, 1, 1, 0], [0, 0.125, 0.25, 0.5]], np.float32
    )
    found = targets(np.repeat(maps, 4, axis=0), boxes)
    assert found.ravel().tolist() == pytest.approx([7.5, 2.0, 7.5, (0 * 1 + 1 * 2) / 3])
    assert found.dtype == np.float32


def test_the_whole_image_is_left_alone() -> None:
    views = whole(3)
    assert views.boxes.tolist() == [[0, 0, 1, 1]] * 3
    assert (views.colors == np.eye(3)).all()
    assert not views.shifts.any()
