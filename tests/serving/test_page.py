"""The page in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.serving import models
from tests.serving.process import PATIENCE, Running, running

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LONG = "a name that goes on " * 8


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    colors = models.shared(tmp_path_factory)
    with running(colors, tmp_path_factory.mktemp("service")) as running_service:
        yield running_service


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    with sync_api.sync_playwright() as playwright:
        # A container's root may not use the sandbox; the page is ours.
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


class Looked:
    """A page, with its console and its requests."""

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.address = page, address
        self.said: list[str] = []
        self.foreign: list[str] = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", self._note)
        # From the start: asked for when the key is pressed, it may come too late.
        page.on("filechooser", lambda _: None)
        page.set_default_timeout(1000 * PATIENCE)
        page.goto(address)
        page.get_by_text("knows 3 classes").wait_for()

    def card(self, name: str) -> Any:
        return self.page.locator(".card", has=self.page.get_by_text(name, exact=True))

    def _note(self, request: Any) -> None:
        if not request.url.removeprefix("blob:").startswith(self.address):
            self.foreign.append(request.url)


@contextmanager
def looking(
    browser: Any, service: Running, width: int = 1280, scheme: str = "light"
) -> Iterator[Looked]:
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce"
    )
    try:
        yield Looked(context.new_page(), service.address)
    finally:
        context.close()


def chosen(name: str, content: bytes) -> dict[str, Any]:
    return {"name": name, "mimeType": "image/png", "buffer": content}


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_chosen_images_show_their_classes(
    browser: Any, service: Running, width: int, scheme: str
) -> None:
    with looking(browser, service, width, scheme) as looked:
        names = list(models.COLORS)
        files = [chosen(f"{name}.png", models.colored(name)) for name in names]
        files.append(chosen(f"{LONG}.png", models.colored("red")))
        looked.page.set_input_files("#files", files)
        for name in names:
            card = looked.card(f"{name}.png")
            card.get_by_role("heading", name=name).wait_for()
            lines = card.locator(".bars li").all_inner_texts()
            assert lines[0].split()[0] == name
            assert len(lines) == 3
            fills = card.locator(".fill")
            widths = [fills.nth(place).bounding_box()["width"] for place in range(3)]
            assert widths[0] > 10 * max(widths[1:])
            image = card.locator("img").bounding_box()
            assert min(image["width"], image["height"]) > 50
        looked.page.get_by_text("4 images").wait_for()
        right = max(
            box["x"] + box["width"]
            for box in (one.bounding_box() for one in looked.page.locator("body *:visible").all())
            if box
        )
        assert right <= width
        assert looked.said == []
        assert looked.foreign == []


def test_an_unreadable_image_does_not_affect_the_others(browser: Any, service: Running) -> None:
    with looking(browser, service) as looked:
        files = [chosen("<b>x.png", b"no image"), chosen("red.png", models.colored("red"))]
        looked.page.set_input_files("#files", files)
        looked.card("red.png").get_by_role("heading", name="red").wait_for()
        bad = looked.card("<b>x.png")
        bad.get_by_role("heading", name="Not read").wait_for()
        assert "unlike any image format" in bad.inner_text()
        assert looked.page.locator(".card b").count() == 0


def test_images_are_dropped_and_pasted(browser: Any, service: Running) -> None:
    with looking(browser, service) as looked:
        for kind, place in (("drop", "dataTransfer"), ("paste", "clipboardData")):
            name = f"{kind}.png"
            looked.page.evaluate(
                """([kind, place, name, bytes]) => {
                  const moved = new DataTransfer();
                  moved.items.add(new File([new Uint8Array(bytes)], name, {type: "image/png"}));
                  const make = kind === "drop" ? DragEvent : ClipboardEvent;
                  const event = new make(kind, {[place]: moved, bubbles: true, cancelable: true});
                  document.body.dispatchEvent(event);
                }""",
                [kind, place, name, list(models.colored("blue"))],
            )
            looked.card(name).get_by_role("heading", name="blue").wait_for()
        assert looked.said == []


def test_the_keyboard_alone_is_enough(browser: Any, service: Running) -> None:
    with looking(browser, service) as looked:
        looked.page.keyboard.press("Tab")
        focused = looked.page.locator("*:focus")
        assert focused.get_attribute("id") == "files"
        with looked.page.expect_file_chooser() as chooser:
            looked.page.keyboard.press("Enter")
        chooser.value.set_files([chosen("green.png", models.colored("green"))])
        looked.card("green.png").get_by_role("heading", name="green").wait_for()
        looked.page.keyboard.press("Tab")
        assert focused.inner_text() == "Clear"
        looked.page.keyboard.press("Enter")
        looked.card("green.png").wait_for(state="detached")
        assert focused.get_attribute("id") == "files"
