"""Progress of long work: a bar on a terminal, occasional lines in a log."""

from __future__ import annotations

import os
import sys
import time
from typing import Self

_PERIOD = 10.0
# Set by a program that reads the lines of a stage to draw its own bar.
_ASKED = "HEADSTART_PROGRESS_S"


class Progress:
    """A counter of units of work that shows count, rate and time left on standard error.

    Parameters
    ----------
    total : int
        Number of units.
    desc, unit : str
        Name of the work and of a unit ("Extracting", "image").
    every : float or None
        Seconds between two lines when standard error is not a terminal. None: 10, or the value
        of the environment variable ``HEADSTART_PROGRESS_S``, counted over all bars of the process,
        so that many short epochs give lines too.
    """

    _printed = 0.0  # when the latest line of any bar was printed

    def __init__(self, total: int, desc: str, unit: str, every: float | None = None) -> None:
        asked = _asked() if every is None else None
        self.total, self.desc, self.unit = total, desc, unit
        self.every = asked or (_PERIOD if every is None else every)
        self.done = 0
        self._start = self._shown = time.monotonic()
        if asked is not None:
            self._shown = Progress._printed = Progress._printed or self._start
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
            self._shown = Progress._printed = now
            print(self._line(now - self._start), file=sys.stderr, flush=True)

    def _line(self, seconds: float) -> str:
        rate = self.done / seconds if seconds else 0.0
        units = self.unit + ("es" if self.unit.endswith("ch") else "s")
        if not self.total:  # A server that names no length.
            return f"{self.desc}: {self.done:,} {units}, {rate:,.1f} per second"
        left = _clock((self.total - self.done) / rate) if rate else "unknown time"
        return (
            f"{self.desc}: {self.done:,} of {self.total:,} {units}, "
            f"{rate:,.1f} per second, {left} left"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def _asked() -> float | None:
    try:
        return max(float(os.environ[_ASKED]), 0.1)
    except (KeyError, ValueError):
        return None


def progress(total: int, desc: str, unit: str) -> Progress:
    """Return a :class:`Progress` for a ``with`` block."""
    return Progress(total, desc, unit)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
