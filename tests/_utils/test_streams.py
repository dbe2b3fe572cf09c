"""Anything can be printed, whatever the encoding of the stream."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

STAGE = '''
"""A stage for tests."""
import sys
from headstart.stage import command_line as cli
from headstart.stage.command_line import Out

def main(target: Out) -> None:
    print("a difference ≤ 1, 猫, é, \\udcff")
    print("a difference ≤ 1", file=sys.stderr)
    target.write_text("done")

if __name__ == "__main__":
    cli.run(main)
'''


def run(folder: Path, encoding: str, *command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, capture_output=True, check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": f"{ROOT}:{folder}"},
    )  # fmt: skip


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "ascii", "utf-8"])
def test_a_sign_that_cannot_be_printed_fails_no_stage(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "saying.py").write_text(STAGE)
    params = str(ROOT / "params.yaml")
    done = run(tmp_path, encoding, "saying", "--target", "out", "--params", params)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_text() == "done"
    assert b"1, \\u732b, " in done.stdout or "1, 猫, é".encode() in done.stdout
    assert done.stderr.count(b"a difference") == 1


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_nor_a_command(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / ".dvc").mkdir()
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("seed: ", "seed: -", 1))
    done = run(tmp_path, encoding, "headstart", "params")
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    # Typer prints UTF-8 where a stream says ASCII.
    assert b"must be an integer \\u2265 0" in done.stderr or encoding == "ascii"
