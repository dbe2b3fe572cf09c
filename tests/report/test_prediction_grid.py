from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart._utils.errors import ImageError
from headstart.report.image_grid import draw_grid
from headstart.report.prediction_grid import Guessed, guessed
from tests.images import made as make


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
