"""Draw docs/report.png from the run in data: ``python -m tools.screenshot [PAGE [PNG [WIDTH]]]``.

It needs the extra ``dev`` and a Chromium on the path.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from headstart._utils.files import write_bytes
from tools.contract import ROOT

PAGE = ROOT / "data/reports/index.html"
PNG = ROOT / "docs/report.png"
#: A README is loaded by everyone, and the file stays in git's history.
MOST_BYTES = 150_000
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def screenshot(page: Path, width: int = 1280, height: int = 900) -> bytes:
    """Return the top of a page of this machine as PNG, in at most 128 colors.

    Parameters
    ----------
    page : Path
    width, height : int
        Of the browser's window, in pixels.
    """
    from PIL import Image
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        sys.exit(f"There is no Chromium: none of {', '.join(_PROGRAMS)} is on the path.")
    with sync_playwright() as playwright:
        # The sandbox needs rights that a container's root lacks; the page is our own.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="light", offline=True
        )
        view = context.new_page()
        view.goto(page.resolve().as_uri())
        drawn = view.screenshot()
        browser.close()
    small = io.BytesIO()
    with Image.open(io.BytesIO(drawn)) as image:
        image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(
            small, "PNG", optimize=True
        )
    return small.getvalue()


def main(page: Path, target: Path, width: int) -> None:
    """Write the image, unless it is too large."""
    if not page.is_file():
        sys.exit(f"There is no {page}. Run the pipeline first: `make run`.")
    content = screenshot(page, width)
    if len(content) > MOST_BYTES:
        sys.exit(f"The image has {len(content):,} bytes; at most {MOST_BYTES:,} are wanted.")
    write_bytes(target, content)
    print(f"{target}: {len(content):,} bytes")


if __name__ == "__main__":
    page, target, width = [*sys.argv[1:], *(str(PAGE), str(PNG), "1280")[len(sys.argv) - 1 :]]
    main(Path(page), Path(target), int(width))
