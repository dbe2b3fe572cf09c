"""The cost of Prefect where there is nothing to do: `headstart run` beside `dvc repro`, in one run.

    python -m benchmarks.flow

(a) `dvc repro`
(b) `headstart run`, its server running already
(c) `headstart run`, with the temporary server that it starts when there is none

Whole processes, in turn; the middle one of the repetitions is shown, and all of them. Processor
seconds are those of the command and all that it starts: on a machine with other work they say more
than the clock. The pipeline is the embedded default, run once beforehand by `dvc repro`.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.checkout import Checkout, Repeats, start
from tests.runs.server import Prefect

Rows = dict[str, list[tuple[float, float]]]

HEADSTART = str(Path(sys.executable).parent / "headstart")


def main(repetitions: Repeats = 5) -> None:
    """Measure and print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkout = Checkout(folder / "project", folder / "store")
        for key in [key for key in checkout.environment if key.startswith("PREFECT")]:
            del checkout.environment[key]
        checkout.environment["PREFECT_HOME"] = str(folder / "home")
        print(f"dvc repro, everything to do: {checkout.repro()[0]:.1f} s", flush=True)
        prefect = Prefect(folder / "server")
        try:
            prefect.start()
            rows = measure(checkout, prefect.url, repetitions)
        finally:
            prefect.close()
    show(rows)


def measure(checkout: Checkout, address: str, repetitions: int) -> Rows:
    """Return seconds by the clock and of the processors, by the name of the way."""
    rows: Rows = {"dvc repro": [], "a server running": [], "a temporary one": []}
    for number in range(repetitions + 1):
        took = {"dvc repro": timed(checkout, "dvc", "repro")}
        checkout.environment["PREFECT_API_URL"] = address
        took["a server running"] = timed(checkout, HEADSTART, "run")
        del checkout.environment["PREFECT_API_URL"]
        took["a temporary one"] = timed(checkout, HEADSTART, "run")
        if number:  # the first round fills caches of the disk, and makes the databases
            for name, seconds in took.items():
                rows[name].append(seconds)
            print("  ".join(f"{name} {took[name][0]:.1f} s" for name in took), flush=True)
    return rows


def timed(checkout: Checkout, *command: str) -> tuple[float, float]:
    """Return seconds by the clock and of the processors; no stage may run in it."""
    cost, output = checkout.measure(*command)
    if "Running stage" in output:
        raise RuntimeError(f"There was something to do:\n{output}")
    return cost.seconds, cost.cpu


def show(rows: Rows) -> None:
    """Print the median, how much more it is than DVC alone, and the ratio."""
    plain = statistics.median(seconds for seconds, _ in rows["dvc repro"])
    print(f"\n{'nothing to do':20}{'seconds':>9}{'more':>8}{'ratio':>8}{'CPU s':>8}   all of them")
    for name, pairs in rows.items():
        middle = statistics.median(seconds for seconds, _ in pairs)
        cpu = statistics.median(seconds for _, seconds in pairs)
        every = " ".join(f"{seconds:.1f}" for seconds, _ in sorted(pairs))
        more, ratio = middle - plain, middle / plain
        print(f"{name:20}{middle:9.1f}{more:8.1f}{ratio:7.1f}x{cpu:8.1f}   {every}")


if __name__ == "__main__":
    start(main, __doc__)
