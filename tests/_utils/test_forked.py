from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from headstart._utils.forked import Forked

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system copies no process")


def forked(work: Callable[[], object], output: Path) -> Forked:
    with output.open("wb") as file:
        return Forked(work, file)


def test_it_reads_what_is_sent_and_prints_to_the_file(tmp_path: Path) -> None:
    started = forked(lambda: print(sys.stdin.readline().upper(), end=""), tmp_path / "output")
    started.stdin.write(b"one\n")
    assert started.wait() == 0
    assert started.returncode == started.poll() == 0
    started.stdin.close()
    assert (tmp_path / "output").read_text() == "ONE\n"


def test_its_input_ends_with_the_pipe(tmp_path: Path) -> None:
    started = forked(lambda: print(len(sys.stdin.read())), tmp_path / "output")
    started.stdin.write(b"four")
    started.stdin.close()
    assert started.wait() == 0
    assert (tmp_path / "output").read_text() == "4\n"


def test_an_error_ends_it_with_the_traceback_and_without_the_code_of_its_starter(
    tmp_path: Path,
) -> None:
    left = tmp_path / "left"
    try:
        started = forked(lambda: 1 / 0, tmp_path / "output")
        assert started.wait() == 1
        started.stdin.close()
    finally:
        left.write_text(left.read_text() + "once" if left.exists() else "once")
    assert left.read_text() == "once"
    assert "ZeroDivisionError" in (tmp_path / "output").read_text()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_output_that_cannot_be_written_ends_it_without_the_code_of_its_starter(
    tmp_path: Path,
) -> None:
    left = tmp_path / "left"
    try:
        started = forked(lambda: print("much" * 10_000), Path("/dev/full"))
        assert started.wait() == 1
        started.stdin.close()
    finally:
        left.write_text(left.read_text() + "once" if left.exists() else "once")
    assert left.read_text() == "once"


def test_it_is_ended_on_request(tmp_path: Path) -> None:
    started = forked(lambda: time.sleep(600), tmp_path / "output")
    assert started.poll() is None
    started.kill()
    assert started.wait() == -signal.SIGKILL
    started.kill()  # It has ended, and its number may be another's.
    started.stdin.close()
