from __future__ import annotations

import os
from pathlib import Path

import pytest

from headstart.pipeline.atomic_write import replace


def test_a_file_is_replaced_under_its_mode_and_nothing_is_left_beside(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace(path, "é\n")
    path.chmod(0o640)
    replace(path, "second\r\n")
    assert path.read_bytes() == b"second\r\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_fault_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    replace(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
