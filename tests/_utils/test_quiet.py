"""Descriptor 2 is silent inside, whole again outside, and tells all if the block fails."""

from __future__ import annotations

import os

import pytest

from headstart._utils.quiet import quiet_stderr


def test_swallows_what_native_code_writes(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_stderr(), quiet_stderr():
        os.write(2, b"chatter")
    os.write(2, b"news")
    assert capfd.readouterr().err == "news"


def test_tells_all_on_failure(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), quiet_stderr():
        os.write(2, b"the reason")
        raise RuntimeError
    assert capfd.readouterr().err == "the reason"
