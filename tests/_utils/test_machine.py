from __future__ import annotations

import getpass
import os
import platform
import pwd
import subprocess
import sys

import pytest

from headstart._utils.machine import architecture, cores, name_user


def test_a_core_is_there() -> None:
    assert cores() >= 1


@pytest.mark.parametrize(
    ("name", "said"),
    [("AMD64", "x86_64"), ("x86_64", "x86_64"), ("aarch64", "arm64"), ("arm64", "arm64")],
)
def test_one_name_for_one_kind(name: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: name)
    assert architecture() == said


def test_a_user_without_an_entry_gets_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", refuse)
    with pytest.raises((KeyError, OSError)):
        getpass.getuser()
    name_user()
    assert getpass.getuser() == f"user-{os.getuid()}"
    monkeypatch.setenv("USER", "somebody")
    name_user()
    assert getpass.getuser() == "somebody"


def test_peak_memory_grows_with_an_array() -> None:
    code = (
        "from headstart._utils.machine import peak_memory\n"
        "before = peak_memory()\n"
        "content = bytearray(b'x' * 100_000_000)\n"
        "print(before, peak_memory())"
    )
    # This process is larger than its child, whose memory must not be taken for its own.
    ours = bytearray(b"x" * 300_000_000)
    run = [sys.executable, "-c", code]
    before, after = map(int, subprocess.run(run, capture_output=True, check=True).stdout.split())
    assert len(ours) > after > before + 90_000_000
