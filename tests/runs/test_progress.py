"""How far a stage is, from its lines."""

from __future__ import annotations

import pytest

from headstart._utils import progress as spoken
from headstart.runs import progress
from headstart.runs.progress import Listener, Progress


@pytest.mark.parametrize(
    ("line", "percent", "what"),
    [
        ("Extracting: 500 of 2,000 images, 10.0 per second, 2:30 left", 25.0, "Extracting"),
        ("Epoch 3 of 10: 5 of 20 batches, 1.0 per second, 0:10 left", 22.5, "Epoch 3 of 10"),
        ("Copying: 3 of 0 images, 1 per second, unknown time left", 0.0, "Copying"),
        ("Downloading:  40%|####      | 4/10 [00:01<00:02]", 40.0, "Downloading"),
        (" 7%|#", 7.0, ""),
        ("999%|#", 100.0, ""),
    ],
)
def test_lines_that_say_nothing_else(line: str, percent: float, what: str) -> None:
    assert progress.parse(line) == Progress(percent, what)


def test_a_line_at_the_end_of_an_epoch_says_more() -> None:
    found = progress.parse("Epoch  2 of 20: loss 0.25, accuracy 0.94; validation loss 0.20 *")
    assert found == Progress(10.0, "Epoch  2 of 20", bare=False)


@pytest.mark.parametrize(
    "line", ["", "1,797 of 1,797 files kept, 251,580 bytes.", "Model: 12 layers", "a: b of c d"]
)
def test_other_lines_tell_of_no_progress(line: str) -> None:
    assert progress.parse(line) is None


def test_what_our_stages_say_is_understood(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in progress.ASKED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(spoken.Progress, "_printed", -1_000.0)
    with spoken.progress(4_000, "Epoch 2 of 4", "image") as bar:
        assert bar.every == 2.0
        bar.update(1_000)
    said = capsys.readouterr().err.strip()
    assert progress.parse(said) == Progress(31.2, "Epoch 2 of 4")


def test_progress_is_shown_and_logged_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1_000))
    monkeypatch.setattr("headstart.runs.progress.time.monotonic", lambda: float(next(clock)))
    logged: list[str] = []
    shown: list[Progress] = []
    listener = Listener(logged.append, shown.append, every_s=5, log_s=50)
    listener.done()
    assert not shown  # there was none
    lines = [f"Working: {number} of 100 pieces, fast" for number in range(100)]
    for line in [*lines, "Finished.", "Epoch 1 of 1: loss 1"]:
        listener.hear(line)
    listener.done()
    assert logged == [lines[0], lines[50], "Finished.", "Epoch 1 of 1: loss 1"]
    assert [entry.percent for entry in shown] == [*range(0, 100, 5), 100, 100]
