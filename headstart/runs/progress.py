"""The progress of a stage, from the lines that it prints."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

# Seconds between two lines of progress that a stage prints for us, and that go to the log.
ASKED = {"HEADSTART_PROGRESS_S": "2"}
LOG_S = 10.0

_COUNTED = re.compile(r"(?P<what>.{1,200}?): (?P<done>[\d,]{1,15}) of (?P<total>[\d,]{1,15}) \w")
_BAR = re.compile(r"(?:(?P<what>.{1,200}?): *)?(?P<percent>\d{1,3})%\|")
_END = re.compile(r"(?P<what>\w{1,50} +(?P<round>\d{1,9}) of (?P<rounds>\d{1,9})): ")
_ROUND = re.compile(r"\b(?P<round>\d{1,9}) of (?P<rounds>\d{1,9})$")


@dataclass(frozen=True)
class Progress:
    """Percentage and subject of a line of progress; ``bare``: the line holds nothing else."""

    percent: float
    what: str
    bare: bool = True


def parse(line: str) -> Progress | None:
    """Return the progress in a line of ours or of tqdm; None if it shows none.

    "Epoch 3 of 10: 5 of 20 batches" is a part of a part: 22.5 percent. "Epoch 3 of 10: loss 0.1"
    is printed at the end of a part: 30 percent.
    """
    counted, bar, end = _COUNTED.match(line), _BAR.match(line.strip()), _END.match(line)
    if counted:
        done, total = (int(counted[name].replace(",", "") or 0) for name in ("done", "total"))
        what, share = counted["what"], done / total if total else 0.0
    elif bar:
        what, share = bar["what"] or "", int(bar["percent"]) / 100
    elif end and int(end["rounds"]):
        return Progress(_percent(int(end["round"]) / int(end["rounds"])), end["what"], bare=False)
    else:
        return None
    part = _ROUND.search(what)
    if part and int(part["rounds"]):
        share = (int(part["round"]) - 1 + min(share, 1.0)) / int(part["rounds"])
    return Progress(_percent(share), what)


def _percent(share: float) -> float:
    return round(100 * min(max(share, 0.0), 1.0), 1)


@dataclass
class Listener:
    """A filter of a stage's lines: progress is shown and sometimes logged; others are logged.

    Attributes
    ----------
    log : callable
        Called with a line.
    show : callable
        Called with the progress, not for every line, because it is expensive.
    every_s, log_s : float
        The least time between two calls of ``show``, and between two lines of progress in the log.
    """

    log: Callable[[str], None]
    show: Callable[[Progress], None]
    every_s: float = 1.0
    log_s: float = LOG_S
    _shown: float = field(default=float("-inf"), init=False)
    _logged: float = field(default=float("-inf"), init=False)

    def hear(self, line: str) -> None:
        """Show or log a line."""
        found, now = parse(line), time.monotonic()
        if found is None or not found.bare:
            self.log(line)
        elif now - self._logged >= self.log_s:
            self._logged = now
            self.log(line)
        if found is not None and now - self._shown >= self.every_s:
            self._shown = now
            self.show(found)

    def done(self) -> None:
        """Show that the stage is done, if anything was shown."""
        if self._shown > float("-inf"):
            self.show(Progress(100.0, "Done"))
