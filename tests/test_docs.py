"""The documentation fails the build when it no longer says what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tools import generate
from tools.contract import declared

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


@pytest.mark.parametrize("page", sorted(generate.PAGES))
def test_generated_pages_are_up_to_date(page: str) -> None:
    assert (ROOT / page).read_text() == generate.PAGES[page](), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_are_shown_exist(page: Path) -> None:
    from headstart.cli.app import app

    known = {words[0] for words in generate.command_paths(app)}
    makefile = (ROOT / "Makefile").read_text()
    for block in re.findall(r"```\n(.*?)```", page.read_text(), re.DOTALL):
        for line in block.splitlines():
            words = line.split("#")[0].split()
            if (
                words[:1] == ["headstart"]
                and len(words) > 1
                and not words[1].startswith(("-", "["))
            ):
                assert words[1] in known, f"{page.name}: {line}"
            if words[:1] == ["make"] and len(words) > 1:
                assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), f"{page.name}: {line}"


def test_the_help_calls_the_program_as_people_do() -> None:
    text = (ROOT / "docs/reference/commands.md").read_text()
    assert "Usage: headstart [OPTIONS] COMMAND" in text
    assert "headstart.py" not in text


def test_every_stage_stands_in_the_architecture_or_the_reference() -> None:
    text = (ROOT / "docs/reference/stages.md").read_text()
    for name in declared():
        assert f"\n## {name}\n" in text


def test_reasons_for_setting_aside_are_documented() -> None:
    from headstart.datasets.manifests import REASONS

    guide = (ROOT / "docs/your-images.md").read_text()
    for reason in REASONS:
        assert f"`{reason}`" in guide
