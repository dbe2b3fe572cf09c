"""A headless Chromium for tests, if this machine has one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium() -> str:
    """The program; skips the test where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"needs a Chromium: none of {', '.join(NAMES)} is on the path")
    return found


@dataclass
class Seen:
    """An open page, and what the browser said and asked for while it was opened.

    Attributes
    ----------
    page : playwright page
    errors : list of str
        Of the console, and exceptions of scripts.
    requests : list of str
        Addresses besides the page's own and ``data:``.
    """

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@contextmanager
def browser() -> Iterator[Any]:
    """A browser with no network behind it."""
    program = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # The sandbox needs rights that a container's root lacks; the pages are our own.
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def look(opened: Any, path: Path, width: int = 1280, scheme: str = "light") -> Iterator[Seen]:
    """Open a file from disk."""
    context = opened.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
    )
    try:
        seen = Seen(context.new_page())
        address = path.resolve().as_uri()

        def said(message: Any) -> None:
            if message.type == "error":
                seen.errors.append(message.text)

        def asked(request: Any) -> None:
            if request.url != address and not request.url.startswith("data:"):
                seen.requests.append(request.url)

        seen.page.on("pageerror", lambda error: seen.errors.append(str(error)))
        seen.page.on("console", said)
        seen.page.on("request", asked)
        seen.page.goto(address)
        yield seen
    finally:
        context.close()
