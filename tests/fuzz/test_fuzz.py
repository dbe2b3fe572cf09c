"""A few hundred mutated inputs, and proof that the campaign notices what it looks for."""

from __future__ import annotations

import sys

from tests.fuzz.campaign import fuzz
from tests.fuzz.mutation import SHARES, mutated


def test_no_input_crashes_or_hangs() -> None:
    tally = fuzz(0, 500)
    assert tally.faults == [], str(tally)
    assert set(tally.outcomes) == set(SHARES)
    assert sum(counts.total() for counts in tally.outcomes.values()) == 500
    accepted = {target for target, counts in tally.outcomes.items() if counts["accepted"]}
    assert {"image", "zip", "table"} <= accepted
    assert all(len(counts) > 1 for counts in tally.outcomes.values())


def test_a_number_stands_for_an_input() -> None:
    assert mutated(7) == mutated(7)
    assert mutated(7) != mutated(8)


WORKER = """
import os, signal, sys
for number in range(int(sys.argv[1]), int(sys.argv[2])):
    print(f"try\\t{number}\\timage\\tpng", flush=True)
    if number == 1:
        os.kill(os.getpid(), signal.SIGPROF)
    if number == 2:
        os.kill(os.getpid(), signal.SIGSEGV)
    said = "crash KeyError: here" if number == 3 else "corrupt"
    print(f"end\\t0.0{number}\\t{number << 10}\\t{said}", flush=True)
"""


def test_a_crash_and_a_hang_are_named_with_their_number() -> None:
    tally = fuzz(0, 6, (sys.executable, "-c", WORKER))
    assert tally.faults == [
        "input 1 (image, from png): hang over 2 s of processor time",
        "input 2 (image, from png): crash of the process, code -11",
        "input 3 (image, from png): crash KeyError: here",
    ]
    assert dict(tally.outcomes["image"]) == {"corrupt": 3, "hang": 1, "crash": 2}
    assert tally.peaks["image"] == (5, 5)
    assert "image        6         0         3        2      1        5      5" in str(tally)
