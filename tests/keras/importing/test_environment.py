"""The environment of an import: how it is made and used, without a package index."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from headstart._utils.errors import HeadstartError
from headstart.keras.importing import environment
from headstart.keras.importing.presets import PACKAGES

TASK: dict[str, Any] = {"handle": "dinov2_small", "architecture": None}


class Steps:
    """Stands in for uv and pip: keeps the commands, and ends with a code."""

    def __init__(self, *codes: int) -> None:
        self.codes, self.commands = list(codes), []  # type: ignore[var-annotated]

    def __call__(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        self.commands.append(list(command))
        folder = environment.location()
        folder.mkdir(parents=True, exist_ok=True)
        code = self.codes.pop(0) if self.codes else 0
        return subprocess.CompletedProcess(command, code, "", "no matching distribution")


@pytest.mark.parametrize("uv", ["/bin/uv", None])
def test_it_is_made_once_with_pinned_packages(
    uv: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, said = Steps(), []  # type: ignore[var-annotated]
    monkeypatch.setattr(environment, "_process", steps)
    monkeypatch.setattr(environment, "_uv", lambda: uv)
    python = environment.obtain(said.append)
    assert python == environment.obtain(said.append)
    assert python.is_relative_to(environment.location())
    made, installed = steps.commands
    assert made[:3] == ([uv, "venv", "--quiet"] if uv else [sys.executable, "-m", "venv"])
    assert installed[-len(PACKAGES) :] == list(PACKAGES)
    assert "--no-deps" in installed
    assert len(said) == 1


@pytest.mark.parametrize("codes", [(1,), (0, 1)])
def test_what_could_not_be_made_is_removed(
    codes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "_process", Steps(*codes))
    with pytest.raises(HeadstartError, match=r"(?s)could not be made.*no matching distribution"):
        environment.obtain(print)
    assert not environment.location().exists()
    monkeypatch.setattr(environment, "_process", Steps())
    environment.obtain(print)


def test_other_packages_are_another_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = environment.location()
    monkeypatch.setattr(environment, "PACKAGES", (*PACKAGES, "more==1"))
    assert environment.location() != before


@pytest.mark.parametrize(
    ("code", "said", "why"),
    [
        (
            3,
            "REFUSED: it is a BertBackbone",
            r"dinov2_small was not imported: it is a BertBackbone\.",
        ),
        (4, "FAILED: ValueError: no network", "(?s)KerasHub says: FAILED.*Without a network"),
    ],
)
def test_what_the_script_says_is_passed_on(
    code: int, said: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys\nprint('noise\\n' + {said!r}, file=sys.stderr)\nsys.exit({code})\n"
    )
    monkeypatch.setattr(environment, "SCRIPT", script)
    with pytest.raises(HeadstartError, match=why):
        environment.run(Path(sys.executable), TASK, tmp_path)


def test_packages_of_this_python_are_not_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import json, os, sys\n"
        "found = [name for name in os.environ if name in ('PYTHONPATH', 'VIRTUAL_ENV')]\n"
        f"open({str(tmp_path / 'found.json')!r}, 'w').write(json.dumps({{'found': found}}))\n"
    )
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("VIRTUAL_ENV", "/elsewhere")
    monkeypatch.setattr(environment, "SCRIPT", script)
    assert environment.run(Path(sys.executable), TASK, tmp_path) == {"found": []}
