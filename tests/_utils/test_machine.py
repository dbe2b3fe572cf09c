from __future__ import annotations

import platform

import pytest

from headstart._utils.machine import architecture, cores


def test_a_core_is_there() -> None:
    assert cores() >= 1


@pytest.mark.parametrize(
    ("name", "said"),
    [("AMD64", "x86_64"), ("x86_64", "x86_64"), ("aarch64", "arm64"), ("arm64", "arm64")],
)
def test_one_name_for_one_kind(name: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: name)
    assert architecture() == said
