"""The page of a review in a real browser, by keyboard alone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from headstart.datasets.corrections import read_corrections
from tests.browser import browser
from tests.conftest import ROOT
from tests.review import made
from tests.review.made import EVIL
from tests.review.served import PATIENCE, served


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """``headstart review`` of a project; yields its address."""
    for name in ("dvc.yaml", "params.yaml", "runtime.txt"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").touch()
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with served(folder, folder / "review.log", environment) as address:
        yield address


@contextmanager
def looking(address: str, width: int) -> Iterator[tuple[Any, list[str]]]:
    with browser() as opened:
        context = opened.new_context(viewport={"width": width, "height": 800})
        page = context.new_page()
        said: list[str] = []
        asked: list[str] = []
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.set_default_timeout(1000 * PATIENCE)
        page.goto(address)
        page.locator("#where", has_text="1 of").wait_for()
        yield page, said
        assert [url for url in asked if not url.startswith(address)] == []
        context.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_cleaning_round_by_keyboard(tmp_path: Path, width: int) -> None:
    table = made.make(tmp_path)
    ids, file = table["image_id"], tmp_path / "data/corrections.csv"

    def rows() -> set[tuple[str, str, str]]:
        return {(row.image_id, row.action, row.value) for row in read_corrections(file)}

    with running(tmp_path) as address, looking(address, width) as (page, said):

        def press(key: str, status: str) -> None:
            page.keyboard.press(key)
            page.locator("#status", has_text=status).wait_for()

        assert EVIL in page.locator("#images").inner_text()
        assert page.locator("#images figure").count() == 2
        sizes = page.evaluate(
            "Promise.all([...document.images].map(async i => (await i.decode(), i.naturalWidth)))"
        )
        assert sizes == [90, 90]
        press("s", "Same object")
        one, two = sorted(ids[:2])
        assert rows() == {(one, "same_object", two)}
        page.keyboard.press("2")
        press("x", "Removed")
        assert len(rows()) == 2
        press("u", "Undone")
        assert rows() == {(one, "same_object", two)}
        press("k", "Kept")
        assert len(rows()) == 2

        page.get_by_role("button", name="Label issues (2)").click()
        page.keyboard.press("r")
        assert page.locator("#class").input_value() == "bee"
        page.keyboard.press("Enter")
        page.locator("#status", has_text="Relabeled: bee").wait_for()
        assert (ids[2], "relabel", "bee") in rows()
        page.keyboard.press("r")
        page.locator("#class").fill("wasp")
        page.keyboard.press("Enter")
        page.get_by_text("There is no class “wasp”").wait_for()
        assert (ids[6], "relabel", "wasp") not in rows()
        page.keyboard.press("Enter")
        page.locator("#status", has_text="Relabeled: wasp").wait_for()
        assert {(ids[6], "relabel", "wasp"), ("", "new_class", "wasp")} <= rows()

        page.get_by_role("button", name="Worst mistakes (2)").click()
        page.get_by_text("makes its scores better than they are").wait_for()
        page.keyboard.press("ArrowRight")
        page.locator("#where", has_text="2 of 2").wait_for()
        page.get_by_role("button", name="Rejected files (1)").click()
        page.get_by_text("truncated: it ends too early").wait_for()
        assert page.locator("[data-key=x]").is_disabled()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.title() == "Headstart: review"
        page.reload()
        page.get_by_role("button", name="Label issues (0)").wait_for()
        assert said == []
