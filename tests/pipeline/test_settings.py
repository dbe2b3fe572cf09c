from __future__ import annotations

from importlib import import_module
from io import StringIO

import pytest

from headstart.pipeline.settings import plain, quoted

ConfigObj = import_module("configobj").ConfigObj  # what DVC reads its settings with; untyped


@pytest.mark.parametrize("value", ["/plain", "/a, b #1", 'say "it"', 'it\'s "it"', "", "'"])
def test_a_value_is_read_as_it_is(value: str) -> None:
    read = ConfigObj(StringIO(f"[cache]\ndir = {quoted(value)}\n"), interpolation=False)
    assert read["cache"]["dir"] == value
    assert plain(quoted(value)) == value


def test_a_value_without_quotes_is_itself() -> None:
    assert plain("../storage") == "../storage"
    assert not plain("")
