from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from headstart.images.augmentation import View, apply, augment, draw, first_alike
from tests.stages import sections

# What the cats-and-dogs tutorial asks for.
TUTORIAL = sections.augment(
    rotation=20.0, width_shift=0.2, height_shift=0.2, shear=0.2, zoom=0.2, horizontal_flip=True
)
EVERYTHING = sections.augment(
    rotation=40.0,
    width_shift=0.3,
    height_shift=0.3,
    shear=20.0,
    zoom=0.5,
    horizontal_flip=True,
    vertical_flip=True,
    brightness=0.4,
    contrast=0.4,
)


def image(side: int = 32, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def test_same_bytes_in_any_order_and_from_any_thread() -> None:
    ids = [f"{number:064x}" for number in range(24)]

    def view(image_id: str) -> bytes:
        return augment(image(), EVERYTHING, 42, image_id, 3).tobytes()

    forwards = {image_id: view(image_id) for image_id in ids}
    with ThreadPoolExecutor(8) as pool:
        backwards = dict(zip(ids[::-1], pool.map(view, ids[::-1]), strict=True))
    assert forwards == backwards


def test_every_epoch_image_and_seed_has_a_view_of_its_own() -> None:
    views = [draw(EVERYTHING, *key) for key in ((1, "a", 0), (1, "a", 1), (1, "b", 0), (2, "a", 0))]
    assert len(set(views)) == len(views)


def test_nothing_asked_for_changes_nothing() -> None:
    original = image()
    same = augment(original, sections.augment(), 42, "a", 0)
    assert np.array_equal(same, original)
    assert same is not original
    assert not sections.augment().active


def test_one_change_does_not_shift_the_randomness_of_another() -> None:
    alone = draw(sections.augment(contrast=0.4), 42, "a", 0)
    assert alone.contrast == draw(EVERYTHING, 42, "a", 0).contrast


@given(number=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_draws_stay_in_range(number: int) -> None:
    view = draw(EVERYTHING, 7, str(number), number)
    assert abs(view.rotation) <= 40.0
    assert abs(view.shear) <= 20.0
    assert max(abs(view.shift_x), abs(view.shift_y)) <= 0.3
    assert 0.5 <= min(view.zoom_x, view.zoom_y) <= max(view.zoom_x, view.zoom_y) <= 1.5
    assert 0.6 <= min(view.brightness, view.contrast) <= max(view.brightness, view.contrast) <= 1.4


def test_draws_use_the_range() -> None:
    views = [draw(TUTORIAL, 7, str(number), 0) for number in range(400)]
    angles = [view.rotation for view in views]
    assert min(angles) < -18 < 18 < max(angles)
    assert 0.4 < np.mean([view.flip_x for view in views]) < 0.6
    assert not any(view.flip_y for view in views)


@pytest.mark.parametrize(
    ("flips", "different"), [({"horizontal_flip": True}, 2), ({"vertical_flip": True}, 2),
                             ({"horizontal_flip": True, "vertical_flip": True}, 4)],
)  # fmt: skip
def test_views_of_flips_alone_repeat_themselves_and_it_is_known(
    flips: dict[str, bool], different: int
) -> None:
    params = sections.augment(**flips)
    original = image()
    views = {0: original.tobytes()}
    for number in range(1, 30):
        found = augment(original, params, 7, "a", number).tobytes()
        alike = first_alike(params, 7, "a", number)
        assert found == views.setdefault(alike, found)
        assert alike == number or alike < number
    assert len(set(views.values())) == len(views) == different


def test_any_other_view_is_like_none_before() -> None:
    assert [first_alike(TUTORIAL, 7, "a", number) for number in range(1, 9)] == list(range(1, 9))


def test_flips_mirror_exactly() -> None:
    original = image()
    assert np.array_equal(apply(original, View(flip_x=True)), original[:, ::-1])
    assert np.array_equal(apply(original, View(flip_y=True)), original[::-1])


def test_a_shift_moves_whole_pixels_and_repeats_the_edge() -> None:
    original = image(16)
    moved = apply(original, View(shift_x=0.25))
    assert np.array_equal(moved[:, :12], original[:, 4:])
    assert np.array_equal(moved[:, 12:], np.repeat(original[:, -1:], 4, axis=1))
    moved = apply(original, View(shift_y=-0.25))
    assert np.array_equal(moved[4:], original[:12])
    assert np.array_equal(moved[:4], np.repeat(original[:1], 4, axis=0))


def test_a_quarter_turn_turns() -> None:
    original = image(16)
    turned = apply(original, View(rotation=90.0))
    # Keras' direction. Pillow cuts off fractions, so a sine that is not quite 1 may cost a level.
    assert np.abs(turned.astype(int) - np.rot90(original, 1)).max() <= 1


@given(
    rotation=st.floats(-180, 180),
    shear=st.floats(-60, 60),
    shift=st.floats(-0.99, 0.99),
    zoom=st.floats(0.01, 1.99),
)
@settings(max_examples=150, deadline=None)
def test_nothing_is_ever_filled_with_black(
    rotation: float, shear: float, shift: float, zoom: float
) -> None:
    plain = np.full((20, 24, 3), 200, dtype=np.uint8)
    view = View(
        rotation=rotation, shear=shear, shift_x=shift, shift_y=-shift, zoom_x=zoom, zoom_y=zoom
    )
    assert np.array_equal(apply(plain, view), plain)


def test_tone_scales_and_clips() -> None:
    gray = np.full((4, 4, 3), 100, dtype=np.uint8)
    assert (apply(gray, View(brightness=1.5)) == 150).all()
    assert (apply(gray, View(brightness=3.0)) == 255).all()
    assert (apply(gray, View(contrast=0.3)) == 100).all()
    two = np.zeros((4, 4, 3), dtype=np.uint8)
    two[:2] = 200
    assert sorted(np.unique(apply(two, View(contrast=0.5)))) == [50, 150]


@pytest.mark.parametrize("shape", [(16, 16, 3), (9, 31, 3)])
def test_shape_and_type_are_kept(shape: tuple[int, int, int]) -> None:
    original = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    view = augment(original, EVERYTHING, 42, "a", 0)
    assert view.shape == shape
    assert view.dtype == np.uint8
    assert view.flags.c_contiguous
    assert view.flags.owndata
