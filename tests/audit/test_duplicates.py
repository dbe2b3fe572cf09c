from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from headstart.audit.alignment import IDENTITY, agreement, align, warp
from headstart.audit.candidates import among_nearest, find_candidates
from headstart.audit.descriptors import SCALE, VIEWS, coarsened, describe
from headstart.audit.duplicates import find_pairs, join
from headstart.audit.thumbnails import Small, reduced
from tests.audit.made import photograph, pixels_of

CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "same": lambda image: image.resize((image.width // 2, image.height // 2)),
    "brightness": lambda image: ImageEnhance.Brightness(image).enhance(0.7),
    "cropped": lambda image: image.crop((0, 12, image.width - 20, image.height)),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "turned": lambda image: image.transpose(Image.Transpose.ROTATE_270),
    "small turn": lambda image: image.rotate(10, Image.Resampling.BICUBIC),
    "gray": lambda image: image.convert("L").convert("RGB"),
}


def small(images: list[Image.Image]) -> Small:
    parts = [reduced(pixels_of(image)) for image in images]
    colors = np.stack([color for _, color in parts])
    return Small(np.stack([gray for gray, _ in parts]), colors[:, :2], colors[:, 2])


ORIGINALS = [photograph(seed) for seed in range(30)]


@pytest.mark.parametrize("kind", CHANGES)
def test_a_changed_copy_is_found_and_its_kind_is_named(kind: str) -> None:
    found = find_pairs(small([*ORIGINALS, CHANGES[kind](ORIGINALS[3])]), 0.9)
    assert list(zip(found.first, found.second, strict=True)) == [(3, 30)]
    assert found.kind == [kind]
    assert found.similarity[0] == round(float(found.similarity[0]), 3)


def test_a_cropped_frame_and_its_original_are_candidates_among_frames_like_them() -> None:
    frames = turning_object(100)
    sources = range(0, 100, 5)
    copies = [frames[each].crop((0, 4, 91, 95)) for each in sources]
    found = find_candidates(small([*frames, *copies]).gray)
    low, high = np.sort(np.stack([found.first, found.second]), axis=0).tolist()
    wanted = {(source, 100 + place) for place, source in enumerate(sources)}
    assert wanted <= set(zip(low, high, strict=True))


def turning_object(count: int) -> list[Image.Image]:
    """Return frames of a ball before a plain background that turns once, slowly."""
    surface = 68 + np.asarray(photograph(7, 400, 96)) // 4
    line = (2 * np.arange(96) + 1) / 96 - 1
    x, y = np.meshgrid(line * 1.2, line * 1.2)
    depth = np.sqrt(np.clip(1 - x * x - y * y, 0, 1))
    row = np.clip((y + 1) * 48, 0, 95).astype(int)
    longitude = np.arctan2(x, depth) / (2 * np.pi) * 400
    frames = []
    for number in range(count):
        column = (longitude + number * 400 / count).astype(int) % 400
        ball = np.where((depth > 0)[..., None], surface[row, column], 255)
        frames.append(Image.fromarray(ball.astype(np.uint8)))
    return frames


def test_among_nearest_keeps_the_nearest_pairs_of_either_image() -> None:
    first, second = np.array([0, 0, 0, 1]), np.array([1, 2, 3, 3])
    near = np.array([3, 2, 1, 0])
    assert among_nearest(first, second, near, 1).tolist() == [True, True, True, False]
    assert among_nearest(first, second, near, 2).tolist() == [True] * 4
    alike = np.zeros(4)
    assert among_nearest(first, second, alike, 1).tolist() == [True, True, True, False]


def test_different_photographs_are_no_pair() -> None:
    assert len(find_pairs(small(ORIGINALS), 0.7)) == 0


def test_flat_images_are_no_pair() -> None:
    flat = [Image.new("RGB", (64, 64), (each, each, each)) for each in (0, 128, 129, 255)]
    assert len(find_pairs(small(flat), 0.7)) == 0


def test_no_image_and_one_image_have_no_pair() -> None:
    assert len(find_pairs(Small(np.empty((0, 64, 64), np.uint8), *_no_colors(0)), 0.9)) == 0
    assert len(find_pairs(small(ORIGINALS[:1]), 0.9)) == 0


def _no_colors(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((count, 2)), np.zeros(count)


def test_another_color_is_another_image() -> None:
    red, green, blue = ORIGINALS[0].split()
    warm = Image.merge("RGB", [red.point(lambda v: v), green, blue.point(lambda v: v // 3)])
    cold = Image.merge("RGB", [red.point(lambda v: v // 3), green, blue])
    assert len(find_pairs(small([warm, cold]), 0.7)) == 0


def test_the_order_of_the_images_changes_no_pair() -> None:
    images = [*ORIGINALS, *(change(ORIGINALS[5]) for change in CHANGES.values())]
    order = np.random.Generator(np.random.Philox(key=1)).permutation(len(images))
    one, other = find_pairs(small(images), 0.9), find_pairs(small([images[i] for i in order]), 0.9)
    plain = set(zip(one.first.tolist(), one.second.tolist(), strict=True))
    mapped = {
        tuple(sorted((int(order[a]), int(order[b]))))
        for a, b in zip(other.first, other.second, strict=True)
    }
    assert plain == mapped
    assert len(set(join([(str(a), str(b)) for a, b in plain]).values())) == 1


def test_cells_find_what_comparing_all_finds() -> None:
    images = [photograph(seed, 64, 64) for seed in range(120)]
    gray = small([*images, *(CHANGES["mirrored"](image) for image in images[:20])]).gray
    every, cells = find_candidates(gray), find_candidates(gray, most_compared=10)
    wanted = {(each, 120 + each) for each in range(20)}
    for found in (every, cells):
        assert wanted <= set(zip(found.first.tolist(), found.second.tolist(), strict=True))


def test_descriptors_are_integers_whose_products_are_exact() -> None:
    found = describe(coarsened(small(ORIGINALS).gray))
    assert (found == np.rint(found)).all()
    exact = found.astype(np.int64) @ found.astype(np.int64).T
    assert (found @ found.T == exact).all()
    assert exact.max() < 2**24
    assert np.diag(exact) == pytest.approx(SCALE, rel=0.02)


def test_a_view_of_an_image_has_the_descriptor_of_the_image_that_was_changed() -> None:
    gray = small(ORIGINALS[:4]).gray
    for view in VIEWS:
        if "turn, " not in view.name and view.map[0] in {-1.0, 0.0, 1.0}:
            seen = warp(gray.astype(np.float64), np.tile(np.array(view.map), (4, 1)))[0]
            changed = np.rint(seen.reshape(gray.shape)).astype(np.uint8)
            products = (describe(coarsened(gray), view) * describe(coarsened(changed))).sum(axis=1)
            assert (products > 0.999 * SCALE).all(), view


def test_alignment_recovers_an_affine_map() -> None:
    gray = small(ORIGINALS[:8]).gray.astype(np.float64)
    truth = np.tile(np.array([0.95, 0.06, 0.03, -0.05, 0.97, -0.02]), (8, 1))
    seen = warp(gray, truth)[0].reshape(gray.shape)
    found = align(seen, gray, np.tile(np.array(IDENTITY), (8, 1)), 12)
    assert found == pytest.approx(truth, abs=0.004)
    assert (agreement(seen, gray, found).detail > 0.99).all()


def test_groups_are_named_by_their_first_image() -> None:
    assert join([("c", "b"), ("d", "c"), ("x", "y")]) == {
        "b": "b", "c": "b", "d": "b", "x": "x", "y": "x",
    }  # fmt: skip
