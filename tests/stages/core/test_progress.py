"""What a log shows of long work."""

from __future__ import annotations

import pytest

from stages.core.progress import Progress


@pytest.mark.parametrize(
    ("unit", "shown"), [("picture", "2 of 5 pictures, "), ("batch", "2 of 5 batches, ")]
)
def test_a_line(unit: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(5, "Working", unit, every=0.0) as bar:
        bar.update(2)
    assert f"Working: {shown}" in capsys.readouterr().err


def test_a_line_without_a_total(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(0, "Working", "batch", every=0.0) as bar:
        bar.update(1200)
    assert "Working: 1,200 batches, " in capsys.readouterr().err
