"""What the tests of faults did, printed when they end."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

#: Counts by subject: a stage, "full disk", "damage", "signals".
counts: dict[str, Counter[str]] = {}
#: The longest that a child outlived its run, in seconds, by subject.
outlived: dict[str, float] = {}


def add(subject: str, **numbers: int) -> None:
    """Add to the counts of a subject, and to the file that HEADSTART_FAULTS_TALLY names."""
    counts.setdefault(subject, Counter()).update(numbers)
    file = os.environ.get("HEADSTART_FAULTS_TALLY")
    if file:
        known = {name: dict(found) for name, found in counts.items()}
        Path(file).write_text(json.dumps(known, indent=1), encoding="utf-8")


def lines() -> list[str]:
    """Return a line for each subject, and the sum."""
    total: Counter[str] = sum(counts.values(), Counter())
    found = [f"{name}: {_listed(numbers)}" for name, numbers in counts.items()]
    found += [f"{name}: gone after {seconds:.1f} s" for name, seconds in outlived.items()]
    return [*found, f"all: {_listed(total)}"] if found else []


def _listed(numbers: Counter[str]) -> str:
    return ", ".join(f"{number:,} {what.replace('_', ' ')}" for what, number in numbers.items())
