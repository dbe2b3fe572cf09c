"""What a log shows of long work."""

from __future__ import annotations

import pytest

from headstart._utils.progress import Progress


@pytest.mark.parametrize(
    ("unit", "shown"), [("image", "2 of 5 images, "), ("batch", "2 of 5 batches, ")]
)
def test_a_line(unit: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(5, "Working", unit, every=0.0) as bar:
        bar.update(2)
    assert f"Working: {shown}" in capsys.readouterr().err


def test_a_line_without_a_total(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(0, "Working", "batch", every=0.0) as bar:
        bar.update(1200)
    assert "Working: 1,200 batches, " in capsys.readouterr().err


def test_short_bars_are_heard_of_when_somebody_asks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1_000, 1))
    monkeypatch.setattr("headstart._utils.progress.time.monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(Progress, "_printed", 0.0)
    monkeypatch.setenv("HEADSTART_PROGRESS_S", "5")
    for epoch in range(1, 11):  # two ticks each
        with Progress(1, f"Epoch {epoch} of 10", "batch") as bar:
            bar.update(1)
    told = [line.split(":")[0] for line in capsys.readouterr().err.splitlines()]
    assert 2 <= len(told) <= 4
    monkeypatch.setenv("HEADSTART_PROGRESS_S", "often")
    assert Progress(1, "Working", "batch").every == 10
