"""Progress of long work: a bar at a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self


class Progress:
    """Counts units of work and shows count, rate and time left on standard error.

    Parameters
    ----------
    total : int
        Units in all.
    desc, unit : str
        What is done, and to what ("Extracting", "picture").
    every : float
        Seconds between two lines when standard error is no terminal.
    """

    def __init__(self, total: int, desc: str, unit: str, every: float = 10.0) -> None:
        self.total, self.desc, self.unit, self.every = total, desc, unit, every
        self.done = 0
        self._start = self._shown = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=total or None, desc=desc, unit=f" {unit}", leave=False, dynamic_ncols=True
            )

    def update(self, count: int = 1) -> None:
        """Count ``count`` more units as done."""
        self.done += count
        if self._bar is not None:
            self._bar.update(count)
            return
        now = time.monotonic()
        if now - self._shown >= self.every:
            self._shown = now
            print(self._line(now - self._start), file=sys.stderr, flush=True)

    def _line(self, seconds: float) -> str:
        rate = self.done / seconds if seconds else 0.0
        units = self.unit + ("es" if self.unit.endswith("ch") else "s")
        if not self.total:  # A server that names no length.
            return f"{self.desc}: {self.done:,} {units}, {rate:,.1f} a second"
        left = _clock((self.total - self.done) / rate) if rate else "unknown time"
        return (
            f"{self.desc}: {self.done:,} of {self.total:,} {units}, "
            f"{rate:,.1f} a second, {left} left"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()


def progress(total: int, desc: str, unit: str) -> Progress:
    """A :class:`Progress` to be used in a ``with`` block."""
    return Progress(total, desc, unit)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
