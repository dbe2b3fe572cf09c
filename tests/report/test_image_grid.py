from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart._utils.errors import ImageError
from headstart.report.image_grid import Raw, draw_grid, reduced
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
