from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from headstart._utils.disk import amount, require_room
from headstart._utils.errors import HeadstartError


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> int:
    usage = shutil.disk_usage(tmp_path)._replace(free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    return 10**9


def test_what_fits_with_a_margin_is_fine(free: int, tmp_path: Path) -> None:
    require_room({tmp_path: 0}, "Things", "")
    require_room({tmp_path / "not" / "there": free * 9 // 10}, "Things", "")


def test_folders_on_one_disk_are_taken_together(free: int, tmp_path: Path) -> None:
    half = {tmp_path / "a": free // 2}
    require_room(half, "Things", "")
    with pytest.raises(HeadstartError) as caught:
        require_room({**half, tmp_path / "b": free // 2}, "Things", "Buy a disk.")
    said = str(caught.value)
    assert "Things need 1.1 GB" in said
    assert "1.0 GB is free" in said
    assert str(tmp_path / "a") in said
    assert said.endswith("Buy a disk.")


def test_the_margin_counts(free: int, tmp_path: Path) -> None:
    with pytest.raises(HeadstartError, match="Things need"):
        require_room({tmp_path: free - 1}, "Things", "")


@pytest.mark.parametrize(("size", "said"), [(6.6e9, "6.6 GB"), (12e6, "12 MB")])
def test_amount(size: float, said: str) -> None:
    assert amount(int(size)) == said
