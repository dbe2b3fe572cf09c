from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart._utils.errors import ImageError
from headstart.report.grids import Guessed, Raw, draw_grid, guessed, reduced
from tests.images import made as make


def raw(title: str, content: bytes, width: int = 40, height: int = 30) -> Raw:
    return Raw(title, width, height, reduced(content))


def test_captions() -> None:
    pixels = np.zeros((3, 4, 3), np.uint8)
    assert Raw("cat", 400, 300, pixels).caption == "cat – (300, 400, 3)"
    assert Raw("a\nb", 4, 3, pixels).caption == "a\\nb – (3, 4, 3)"
    long = Raw("x" * 100, 4, 3, pixels).caption
    assert long == f"{'x' * 25}… – (3, 4, 3)"


def test_images_are_reduced_upright_and_in_color() -> None:
    assert reduced(make.jpeg(4000, 3000)).shape == (240, 320, 3)
    assert reduced(make.png(40, 30)).shape == (30, 40, 3)
    assert reduced(make.turned(6)).shape == (40, 30, 3)
    gray = make.encoded(make.noise().convert("L"), "PNG")
    assert reduced(gray).shape == (30, 40, 3)
    palette = make.encoded(make.noise().convert("P"), "PNG")
    assert reduced(palette).dtype == np.uint8
    for broken in (b"", b"no image", make.jpeg(400, 300)[:900]):
        with pytest.raises(ImageError):
            reduced(broken)


def test_the_same_images_give_the_same_bytes(tmp_path: Path) -> None:
    shown = [raw(f"class {n}", make.jpeg(seed=n)) for n in range(3)]
    for name in ("1.png", "2.png"):
        draw_grid(shown, 2, tmp_path / "deep" / name)
    first, second = ((tmp_path / "deep" / name).read_bytes() for name in ("1.png", "2.png"))
    assert first == second
    with Image.open(io.BytesIO(first)) as image:
        assert image.format == "PNG"
        assert "Software" not in image.info


@pytest.mark.parametrize("title", ["$x_{^$", "\\frac{", "猫", "a\x1b[31mred", "%s", ""])
def test_names_of_strangers_are_only_drawn(tmp_path: Path, title: str) -> None:
    draw_grid([raw(title, make.png())], 5, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_a_cell_is_titled_with_class_probability_and_file() -> None:
    one = guessed(make.jpeg(400, 300), "photo.jpg", "tiger cat", 0.614)
    assert one.caption == "tiger cat\n61.4 % – photo.jpg"
    assert one.pixels.shape == (240, 320, 3)


def test_no_title_is_wider_than_its_cell_or_has_more_lines() -> None:
    long = Guessed("a\nb" * 50, 1, 1, np.zeros((1, 1, 3), np.uint8), "y" * 100, 1.0)
    assert [len(line) for line in long.caption.splitlines()] == [30, 30]


def test_what_is_no_image_has_no_cell() -> None:
    with pytest.raises(ImageError):
        guessed(b"no image", "x.jpg", "cat", 0.5)


def test_titles_of_two_lines_stay_clear_of_the_images_above(tmp_path: Path) -> None:
    cell = guessed(make.png(40, 40), "a.png", "cat", 0.5)
    draw_grid([cell] * 4, 2, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as image:
        blank = (np.asarray(image.convert("L")) == 255).all(axis=1)
    # Down the page, two lines of title and an image, twice.
    down = "".join("." if line else "#" for line in blank).strip(".")
    line, title, row, *_ = (len(gap) for gap in re.findall(r"\.+", down))
    assert row > 2 * max(line, title)
