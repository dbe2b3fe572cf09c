"""The report as a person opens it: from disk, in a browser, on a desk and on a phone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headstart.report.run import Run, draw, show
from headstart.stage.page import Page
from headstart.stage.parameters import read_params
from tests.browser import browser, look
from tests.report import made

REJECTED = (
    ("raw/cut.jpg", "truncated", "the jpeg ends too early"),
    ("raw/" + "long" * 200 + ".txt", "not_an_image", "it begins with b'<'" * 30),
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as opened:
        yield opened


def render(folder: Path, **plan: Any) -> Path:
    run = Run(made.make(folder / "files", **plan))
    params = read_params(made.PARAMS)
    (folder / "figures").mkdir()
    draw(run, folder / "figures")
    page = Page(folder / "index.html", params.model_dump())
    show(run, folder / "figures", page, params.seed, params.make_report)
    return page.path


@pytest.fixture(scope="module")
def hostile(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tuned run whose classes have names that no one should have."""
    return render(
        tmp_path_factory.mktemp("hostile"), classes=sorted(made.HOSTILE), tuned=True, tuning=3,
        rejected=REJECTED, random_weights=True, wrong=0.6,
    )  # fmt: skip


@pytest.fixture(scope="module")
def many(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """102 classes."""
    names = [f"class number {number:03}" for number in range(102)]
    return render(tmp_path_factory.mktemp("many"), classes=names, each=2, side=(8, 8), wrong=0.5)


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("which", ["hostile", "many"])
def test_it_opens_without_an_error_a_request_or_a_sideways_scroll(
    chromium: Any, request: pytest.FixtureRequest, which: str, scheme: str, width: int
) -> None:
    with look(chromium, request.getfixturevalue(which), width, scheme) as seen:
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        images = seen.page.evaluate(
            "Array.from(document.images).map(image => [image.complete, image.naturalWidth])"
        )
        assert len(images) > 30
        assert all(complete and side > 0 for complete, side in images)
        assert not seen.errors
        assert not seen.requests
        assert "owned" not in seen.page.title()


def test_light_and_dark_differ_in_figures_and_paper(chromium: Any, many: Path) -> None:
    looks = []
    for scheme in ("light", "dark"):
        with look(chromium, many, scheme=scheme) as seen:
            looks.append(
                (
                    seen.page.evaluate("getComputedStyle(document.body).backgroundColor"),
                    seen.page.evaluate("document.querySelector('picture img').currentSrc"),
                )
            )
    assert looks[0][0] != looks[1][0]
    assert looks[0][1] != looks[1][1]


def column(page: Any, place: int) -> list[str]:
    found: list[str] = page.evaluate(
        "place => Array.from(document.querySelectorAll('table.sortable tbody tr'))"
        ".map(row => row.cells[place].dataset.value)",
        place,
    )
    return found


def test_the_table_of_classes_sorts_by_keyboard(chromium: Any, many: Path) -> None:
    with look(chromium, many) as seen:
        button = seen.page.locator("table.sortable th button", has_text="recall")
        button.focus()
        place = button.evaluate("button => button.closest('th').cellIndex")
        seen.page.keyboard.press("Enter")
        rising = [float(value) for value in column(seen.page, place)]
        assert rising == sorted(rising)
        assert button.evaluate("b => b.closest('th').getAttribute('aria-sort')") == "ascending"
        seen.page.keyboard.press("Space")
        assert [float(value) for value in column(seen.page, place)] == rising[::-1]
        seen.page.locator("table.sortable th button", has_text="class").first.press("Enter")
        assert column(seen.page, 1) == sorted(column(seen.page, 1))


def test_what_is_not_known_stands_at_the_end(chromium: Any, tmp_path: Path) -> None:
    with look(chromium, render(tmp_path, absent=["bee"], each=3, epochs=1)) as seen:
        button = seen.page.locator("table.sortable th button", has_text="recall")
        place = button.evaluate("button => button.closest('th').cellIndex")
        for _ in range(2):
            button.press("Enter")
            assert column(seen.page, place)[-1] == ""


def test_the_paper_shows_what_is_folded(chromium: Any, hostile: Path) -> None:
    with look(chromium, hostile) as seen:
        seen.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = false)")
        seen.page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert seen.page.evaluate("document.querySelectorAll('details:not([open])').length") == 0
        seen.page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert seen.page.evaluate("document.querySelectorAll('details[open]').length") == 0
        assert seen.page.pdf(format="A4").startswith(b"%PDF")


def test_the_policy_holds_against_what_escaping_might_miss(
    chromium: Any, hostile: Path, tmp_path: Path
) -> None:
    injected = tmp_path / "injected.html"
    evil = "<script>document.title='owned'</script><img src='https://example.org/x.png'></main>"
    injected.write_text(hostile.read_text(encoding="utf-8").replace("</main>", evil), "utf-8")
    with look(chromium, injected) as seen:
        assert "owned" not in seen.page.title()
        blocked = json.dumps(seen.errors)
        assert "Content Security Policy" in blocked


def test_the_navigation_fits_a_phone(chromium: Any, many: Path) -> None:
    with look(chromium, many, 390) as seen:
        right = seen.page.evaluate(
            "Array.from(document.querySelectorAll('nav a'))"
            ".map(link => link.getBoundingClientRect().right)"
        )
        assert len(right) == 9
        assert max(right) <= 390


def test_text_in_figures_is_readable_at_a_desk(chromium: Any, hostile: Path) -> None:
    with look(chromium, hostile, 1280) as seen:
        # Text of 9 points is 12.5 pixels where a figure is as wide as it was drawn.
        scales = seen.page.evaluate(
            "Array.from(document.querySelectorAll('#learning picture img'))"
            ".map(image => image.getBoundingClientRect().width / image.getAttribute('width'))"
        )
        assert len(scales) == 3
        assert min(scales) > 0.85
