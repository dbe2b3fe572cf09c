from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart._utils.errors import ImageError
from headstart.report.grids import Cell, draw_grid, guess_caption, raw_caption, reduced
from tests.images import made as make


def raw(title: str, content: bytes, width: int = 40, height: int = 30) -> Cell:
    return Cell(raw_caption(title, width, height), reduced(content))


def test_captions() -> None:
    assert raw_caption("cat", 400, 300) == "cat – (300, 400, 3)"
    assert raw_caption("a\nb", 4, 3) == "a\\nb – (3, 4, 3)"
    long = raw_caption("x" * 100, 4, 3)
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
    caption = guess_caption("tiger cat", 0.614, "photo.jpg")
    assert caption == "tiger cat\n61.4 % – photo.jpg"
    assert reduced(make.jpeg(400, 300)).shape == (240, 320, 3)


def test_no_title_is_wider_than_its_cell_or_has_more_lines() -> None:
    long = guess_caption("y" * 100, 1.0, "a\nb" * 50)
    assert [len(line) for line in long.splitlines()] == [30, 30]


def test_titles_of_two_lines_stay_clear_of_the_images_above(tmp_path: Path) -> None:
    cell = Cell(guess_caption("cat", 0.5, "a.png"), reduced(make.png(40, 40)))
    draw_grid([cell] * 4, 2, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as image:
        blank = (np.asarray(image.convert("L")) == 255).all(axis=1)
    # Down the page, two lines of title and an image, twice.
    down = "".join("." if line else "#" for line in blank).strip(".")
    line, title, row, *_ = (len(gap) for gap in re.findall(r"\.+", down))
    assert row > 2 * max(line, title)
