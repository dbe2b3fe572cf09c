from __future__ import annotations

import getpass
import os
import platform
import pwd

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
