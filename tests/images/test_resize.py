from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL
import pytest
from PIL import Image

from headstart._utils.errors import ImageError
from headstart.images.decode import Limits
from headstart.images.resize import SPEC, rgb
from tests.images import made as make
from tests.images.made import pixels

Array = npt.NDArray[np.uint8]


def far(one: Array, other: Array) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def test_shape_and_type() -> None:
    got = pixels(make.png(), 17)
    assert got.shape == (17, 17, 3)
    assert got.dtype == np.uint8
    assert got.flags.c_contiguous
    assert got.flags.writeable


def test_the_fingerprint_names_the_decoder() -> None:
    assert PIL.__version__ in SPEC


def test_the_right_size_is_not_resized() -> None:
    image = make.noise(32, 32)
    assert np.array_equal(pixels(make.encoded(image, "PNG"), 32), np.asarray(image))


def test_shrinking_is_antialiased() -> None:
    board = np.indices((64, 64)).sum(0) % 2 * 255
    got = pixels(make.encoded(Image.fromarray(board.astype(np.uint8)), "PNG"), 8)
    assert 120 <= got.min() <= got.max() <= 135


@pytest.mark.parametrize("value", range(1, 9))
def test_a_turned_image_equals_its_upright_twin(value: int) -> None:
    turned = make.turned(value, "PNG")
    image = make.noise()
    turns: dict[int, Any] = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    upright = image.transpose(turns[value]) if value in turns else image
    # Turned after resizing: the two passes of the filter change places, and one rounding with them.
    assert far(pixels(turned, 16), pixels(make.encoded(upright, "PNG"), 16)) <= 1


def test_16_bit_grays_keep_their_high_byte() -> None:
    values = np.linspace(0, 65535, 256, dtype=np.uint16).reshape(16, 16)
    got = pixels(make.gray16(values), 16)
    assert np.array_equal(got[..., 0], (values >> 8).astype(np.uint8))
    assert np.array_equal(got[..., 0], got[..., 2])


def test_transparency_is_laid_over_white() -> None:
    image = Image.new("RGBA", (4, 4), (200, 100, 0, 0))
    assert pixels(make.encoded(image, "PNG"), 4).min() == 255
    image = Image.new("RGBA", (4, 4), (200, 100, 0, 128))
    got = pixels(make.encoded(image, "PNG"), 4)[0, 0]
    assert list(got) == [round((c * 128 + 255 * 127) / 255) for c in (200, 100, 0)]
    image = Image.new("RGBA", (4, 4), (200, 100, 0, 255))
    assert list(pixels(make.encoded(image, "PNG"), 4)[0, 0]) == [200, 100, 0]


@pytest.mark.parametrize("mode", ["LA", "P", "L", "RGB"])
def test_every_way_to_say_transparent(mode: str) -> None:
    image = Image.new(mode, (4, 4))
    options: dict[str, Any] = {"RGB": {"transparency": (0, 0, 0)}, "LA": {}}
    content = make.encoded(image, "PNG", **options.get(mode, {"transparency": 0}))
    assert pixels(content, 4).min() == 255


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_opaque_modes_become_rgb(mode: str) -> None:
    image = make.noise().convert(mode)
    got = pixels(make.encoded(image, "PNG"), 16)
    wanted = image.convert("RGB").resize((16, 16), Image.Resampling.BILINEAR)
    assert np.array_equal(got, np.asarray(wanted))


def test_cmyk_jpeg_shows_the_same_colors() -> None:
    image = Image.new("RGB", (32, 32), (200, 60, 30))
    got = pixels(make.encoded(image.convert("CMYK"), "JPEG", quality=100), 8)
    assert far(got, np.full((8, 8, 3), (200, 60, 30), np.uint8)) <= 4


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_the_first_frame_of_an_animation(kind: str) -> None:
    got = pixels(make.animation(kind), 6)
    assert far(got, np.full((6, 6, 3), (255, 0, 0), np.uint8)) <= 2


def test_a_palette_png_by_the_name_of_jpg_is_read_by_content() -> None:
    # No function here is ever told a name; palettes are the kind that real sets mislabel.
    assert pixels(make.encoded(make.noise().convert("P"), "PNG"), 8).std() > 0


@pytest.mark.parametrize("size", [(499, 375), (1201, 903), (800, 800)])
def test_a_big_jpeg_decoded_smaller_is_nearly_the_same(size: tuple[int, int]) -> None:
    content = make.jpeg(*size, quality=90)
    with Image.open(io.BytesIO(content)) as image:
        whole = np.asarray(image.convert("RGB").resize((48, 48), Image.Resampling.BILINEAR))
    got = pixels(content, 48)
    assert np.abs(got.astype(int) - whole.astype(int)).mean() < 0.5
    assert far(got, whole) <= 6


def test_a_jpeg_below_twice_the_size_is_decoded_completely() -> None:
    content = make.jpeg(190, 140)
    with Image.open(io.BytesIO(content)) as image:
        whole = np.asarray(image.convert("RGB").resize((96, 96), Image.Resampling.BILINEAR))
    assert np.array_equal(pixels(content, 96), whole)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"<html>", "not_an_image"),
        (make.jpeg(400, 300)[:2000], "truncated"),
        (make.gif_header(65535, 65535), "too_large"),
    ],
)
def test_poison_is_refused_here_too(content: bytes, reason: str) -> None:
    with pytest.raises(ImageError) as caught:
        pixels(content, 32)
    assert caught.value.reason == reason


def test_limits_for_images_that_nobody_inspected() -> None:
    with pytest.raises(ImageError, match="too_large"):
        pixels(make.png(), 8, Limits(max_pixels=100))


@pytest.mark.parametrize("shape", [(1, 70_000), (70_000, 1), (300, 300), (2, 3)])
def test_transparency_in_strips_is_exact(shape: tuple[int, int]) -> None:
    layers = np.random.default_rng(1).integers(0, 256, (*shape, 4), dtype=np.uint8)
    color, alpha = layers[..., :3].astype(np.int64), layers[..., 3:].astype(np.int64)
    expected = (color * alpha + 255 * (255 - alpha) + 127) // 255
    assert np.array_equal(np.asarray(rgb(Image.fromarray(layers))), expected)


def test_every_level_of_every_opacity_is_exact() -> None:
    levels, opacities = np.meshgrid(np.arange(256), np.arange(256))
    layers = np.stack([levels, levels, levels, opacities], axis=2).astype(np.uint8)
    expected = (levels * opacities + 255 * (255 - opacities) + 127) // 255
    assert np.array_equal(np.asarray(rgb(Image.fromarray(layers)))[..., 1], expected)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("shape", [(7, 300), (301, 177), (20, 20), (900, 1300)])
def test_gray_is_resized_as_three_equal_bands_are(shape: tuple[int, int], kind: str) -> None:
    gray = Image.fromarray(np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8))
    content = make.encoded(gray, kind)
    for size in (5, 48, 224):
        with Image.open(io.BytesIO(content)) as image:
            reduced = image.draft(None, (2 * size, 2 * size)) if kind == "JPEG" else None
            box = reduced[1] if reduced else None
            bands = image.convert("RGB")
            expected = bands.resize((size, size), Image.Resampling.BILINEAR, box=box)
        assert np.array_equal(pixels(content, size), np.asarray(expected))
