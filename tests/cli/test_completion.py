"""The shell's completion of the command line, as the shells ask for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

_RUN = "import sys\nfrom headstart.cli.app import app\ntry: app(prog_name='headstart')\n"
_RUN += "finally: print(' '.join(sys.modules), file=sys.stderr)"


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _RUN, *words],
        cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def completed(line: str) -> list[str]:
    """What bash is offered at the end of a line."""
    place = str(len(line.split(" ")) - 1)
    done = run(_HEADSTART_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=place)
    assert done.returncode == 0, done.stderr
    heavy = {"tensorflow", "keras", "prefect", "dvc", "pandas", "numpy", "rich"}
    assert not heavy & set(done.stderr.splitlines()[-1].split()), "each press of Tab would wait"
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("headstart se", ["serve", "serve-model"]),
        ("headstart predict --out", ["--out-folder"]),
        ("headstart predict --format ", ["table", "jsonl", "csv"]),
        ("headstart predict pho", []),  # Then bash offers files.
    ],
)
def test_commands_options_and_values_are_completed(line: str, offered: list[str]) -> None:
    assert completed(line) == offered


@pytest.mark.skipif(os.name != "posix", reason="bash is not part of every system")
def test_it_is_installed_for_bash(tmp_path: Path) -> None:
    variables = {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = run("--install-completion", "bash", **variables)
    assert done.returncode == 0, done.stderr
    script = tmp_path / ".bash_completions" / "headstart.sh"
    assert str(script) in (tmp_path / ".bashrc").read_text()
    assert "complete -o default -F _headstart_completion headstart" in script.read_text()
