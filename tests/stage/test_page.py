"""A stage with a page: written where it is told, with all parameters to show."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from headstart.stage import command_line
from headstart.stage.page import Page
from tests.conftest import ROOT

STAGE = '''
"""A stage for tests."""
from __future__ import annotations
from headstart.stage import command_line as cli
from headstart.stage.command_line import Out
from headstart.stage.page import Page

def main(result: Out, page: Page, seed: int) -> None:
    result.write_text("result")
    page.path.write_text(f"{page.params['seed'] == seed} {sorted(page.params)}")

if __name__ == "__main__":
    cli.run(main)
'''


def shown(page: Page) -> None:
    """A main for :func:`cli.kinds`."""


def test_a_page_is_a_kind_of_its_own() -> None:
    assert command_line.kinds(shown) == {"page": "page"}
    assert "not tracked" in command_line.parser(shown).format_help()


def test_a_page_carries_every_parameter(tmp_path: Path) -> None:
    (tmp_path / "showing.py").write_text(STAGE)
    subprocess.run(
        [sys.executable, "-m", "showing", "--result", "out.txt", "--page", "it.html",
         "--params", str(ROOT / "params.yaml")],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"}, check=True,
    )  # fmt: skip
    text = (tmp_path / "it.html").read_text()
    assert text.startswith("True ")
    assert "'train_head'" in text
    assert "'make_report'" in text
