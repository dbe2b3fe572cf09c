"""What the extras lack, from the metadata that pip reads, and the command that adds them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from headstart._utils import extras
from headstart.export.formats import FORMATS
from tests.conftest import ROOT

DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def test_every_extra_for_users_is_known() -> None:
    assert set(extras.absent_packages()) == set(DECLARED) - {"dev", "notebook"}


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "_installed", lambda name: name != "tf2onnx")
    absent = extras.absent_packages()
    assert absent["onnx"] == ("tf2onnx",)
    assert absent["serving"] == ()


def test_the_message_names_the_extra_and_a_command_that_exists(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    said = extras.needs_extra("The format onnx", "onnx", "tf2onnx")
    assert said.startswith("The format onnx needs the extra `onnx`, of which tf2onnx is not")
    assert "`make dev`" in said
    assert "\ndev:" in (ROOT / "Makefile").read_text()
    monkeypatch.setattr(extras, "__file__", "/site-packages/headstart/_utils/extras.py")
    assert extras.install_command("onnx") == 'pip install "headstart[onnx]"'


def test_the_extras_that_the_code_names_are_declared() -> None:
    used = {row.extra for row in FORMATS.values() if row.extra}
    for path in Path(ROOT / "headstart").rglob("*.py"):
        text = path.read_text()
        used |= {name for name in ("kaggle", "parquet", "tfds", "serving") if f'"{name}"' in text}
    assert used <= set(DECLARED)
