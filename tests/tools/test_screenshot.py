"""The screenshot of the README: small, current in kind, and made by a script."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from tests.browser import chromium
from tests.conftest import ROOT
from tools import screenshot


def test_the_readme_shows_an_image_that_is_small() -> None:
    readme = (ROOT / "README.md").read_text()
    assert f"({screenshot.PNG.relative_to(ROOT)})" in readme
    assert screenshot.PNG.stat().st_size <= screenshot.MOST_BYTES
    with Image.open(screenshot.PNG) as image:
        assert image.size == (1280, 900)


def test_a_page_becomes_an_image_of_its_width(tmp_path: Path) -> None:
    chromium()
    page = tmp_path / "page.html"
    page.write_text("<body style='margin:0;background:#008000'></body>")
    with Image.open(io.BytesIO(screenshot.screenshot(page, 390, 300))) as image:
        assert image.size == (390, 300)
        assert image.convert("RGB").getpixel((200, 150)) == (0, 128, 0)
