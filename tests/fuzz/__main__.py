"""Fuzz decoders, archives, tables and parameters: ``make fuzz N=100000``.

``--replay NUMBER`` tries one input again, and ``--write FILE`` writes it to a file. Numbers stand
for the same inputs as long as the seeds and ../shared/cases (if present) are the same.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.fuzz.campaign import fuzz
from tests.fuzz.mutation import mutated


def main() -> int:
    """Return 0 if no input crashed or hung."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.fuzz")
    parser.add_argument("count", nargs="?", type=int, default=10_000, help="number of inputs")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--replay", type=int, metavar="NUMBER", help="try this input alone")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the replayed input")
    options = parser.parse_args()
    first, count = options.first, options.count
    if options.replay is not None:
        first, count = options.replay, 1
        target, seed, content = mutated(first)
        print(f"Input {first}: {target}, from {seed}, {len(content):,} bytes")
        if options.write is not None:
            options.write.write_bytes(content)
    tally = fuzz(first, first + count)
    print(tally)
    return 1 if tally.faults else 0


if __name__ == "__main__":
    sys.exit(main())
