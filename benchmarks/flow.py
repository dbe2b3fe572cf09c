"""What Prefect costs where there is nothing to do: `headstart run` beside `dvc repro`, in one run.

    python -m benchmarks.flow

(a) `dvc repro`
(b) `headstart run`, its server running already
(c) `headstart run`, with the temporary server that it starts when there is none

Whole processes, in turn; the middle one of the repetitions is shown, and all of them. Processor
seconds are those of the command and all that it starts: on a machine with other work they say more
than the clock. The pipeline is the embedded default, run once beforehand by `dvc repro`.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from benchmarks.checkout import Checkout, parser

Rows = dict[str, list[tuple[float, float]]]

HEADSTART = str(Path(sys.executable).parent / "headstart")
_START_S = 120.0


def main() -> None:
    """Measure and print the table."""
    built = parser(__doc__)
    built.add_argument("--repetitions", type=int, default=5)
    options = built.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkout = Checkout(folder / "project", folder / "store")
        for key in [key for key in checkout.environment if key.startswith("PREFECT")]:
            del checkout.environment[key]
        checkout.environment["PREFECT_HOME"] = str(folder / "home")
        print(f"dvc repro, everything to do: {checkout.repro()[0]:.1f} s", flush=True)
        with server(folder, checkout.environment) as address:
            rows = measure(checkout, address, options.repetitions)
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


@contextmanager
def server(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """Run a Prefect server of our own; yield the address of its API."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(HEADSTART).with_name("prefect")), "server", "start"]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        cwd=folder / "project", stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT,
        env={**environment, "PREFECT_HOME": str(folder / "server"), "DO_NOT_TRACK": "1"},
        start_new_session=os.name == "posix",
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}/api"
    try:
        wait(f"{address}/health", process)
        yield address
    finally:
        process.terminate()
        process.wait(60)


def wait(address: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers."""
    end = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < end:
        with suppress(URLError, OSError), urlopen(address, timeout=2):  # noqa: S310 - our own
            return
        time.sleep(0.2)
    raise RuntimeError("Prefect's server did not start.")


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
    main()
