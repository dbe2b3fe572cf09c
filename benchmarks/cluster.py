"""Features by the workers of a cluster on this machine, beside one process with threads.

    KERAS_HOME=/path/to/keras python -m benchmarks.cluster --archive cats-dogs.zip --limit 1000

(a) ``python -m stages.extract_features`` in one process, with a thread per core
(b) the same with a worker per core, which run already (``headstart cluster worker``)
(c) the same with ``cluster: local``, which starts and ends the workers
(d) (b) with one worker more, of which one is killed and one stopped for good in the middle

Each starts with an empty feature store; (a) and (b) take turns. Seconds are those of the
extraction, from the first image to the last commit, without the start of Python; CPU seconds are
those of all processes, including the scheduler's; (d) has none, because a killed process does not
tell them. The SHA-256 of all features and the accepted
passes are compared.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from benchmarks.checkout import (
    ROOT,
    Archive,
    Checkout,
    Limit,
    Repeats,
    Size,
    photo_project,
    start,
    unpack,
)
from headstart._utils.files import sha256_tree
from headstart._utils.machine import cores


class Measured(NamedTuple):
    """An extraction: seconds, CPU seconds of all processes, passes, and the features' SHA-256."""

    seconds: float
    cpu: float
    passes: dict[str, Any]
    features: str


class Processes:
    """A scheduler and workers on loopback, by the commands of docs/scale-out.md."""

    def __init__(self, count: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{port}"
        self._all = [self._start("scheduler", f"--port={port}")]
        self.workers = [
            self._start("worker", self.address, "--processes=1", "--", "--no-nanny")
            for _ in range(count)
        ]
        self._all += self.workers

    def _start(self, *command: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "headstart", "cluster", *command],
            cwd=ROOT, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        ready = "Registered to" if command[0] == "worker" else "Scheduler at"
        assert process.stderr is not None  # noqa: S101 - it is a pipe
        for line in process.stderr:
            if ready in line:
                threading.Thread(target=process.stderr.read, daemon=True).start()
                return process
        raise RuntimeError(f"headstart cluster {' '.join(command)} has ended")

    def cpu(self) -> float:
        """Return the CPU seconds of all processes so far."""
        running = [process for process in self._all if process.poll() is None]
        times = [psutil.Process(process.pid).cpu_times() for process in running]
        return float(sum(each.user + each.system for each in times))

    def __enter__(self) -> Processes:  # noqa: PYI034 - it has no subclass
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._all):
            process.kill()
            process.wait()


def main(archive: Archive, limit: Limit = None, repeats: Repeats = 1, size: Size = 224) -> None:
    """Measure all four, compare their features, and print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = folder / "photos"
        count = len(unpack(archive, photos, limit))
        checkout = photo_project(folder, photos, backbone__image_size=size)
        checkout.repro("sample", "backbone")
        alone, running = [], []
        with Processes(cores()) as cluster:
            for turn in range(repeats):
                alone.append(measured(checkout, "none", folder / f"alone{turn}"))
                before = cluster.cpu()
                found = measured(checkout, cluster.address, folder / f"running{turn}")
                running.append(found._replace(cpu=found.cpu + cluster.cpu() - before))
        local = measured(checkout, "local", folder / "local")
        with Processes(cores() + 1) as cluster:
            victims = cluster.workers[:2]
            broken = measured(checkout, cluster.address, folder / "broken", lambda: strike(victims))
            broken = broken._replace(cpu=float("nan"))
        load = f"{os.getloadavg()[0]:.1f}"
        print(f"{count:,} photos of {archive.name}, {size} pixels, MobileNetV2, load {load}")
        print(f"{'':<46} {'seconds':>8} {'a second':>9} {'CPU s':>7} {'accepted':>9} computed")
        show("(a) one process, a thread per core", *alone)
        show("(b) a worker per core, running", *running)
        show("(c) cluster: local", local)
        show("(d) one more, one killed and one stopped", broken)
        ratios = [a.seconds / b.seconds for a, b in zip(alone, running, strict=True)]
        print(f"(a) / (b), seconds: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
        more = [b.cpu / a.cpu - 1 for a, b in zip(alone, running, strict=True)]
        print(f"CPU of (b) beyond (a): {', '.join(f'{each:+.0%}' for each in more)}")
        every = [*alone, *running, local, broken]
        equal = len({each.features for each in every}) == 1
        once = {each.passes["passes_total_ever"] for each in every} == {
            alone[0].passes["passes_done"]
        }
        print(f"Features equal in all runs: {equal}. Each image accepted once: {once}.")


def measured(
    checkout: Checkout, cluster: str, store: Path, in_the_middle: Callable[[], None] | None = None
) -> Measured:
    """Extract into a new store; call ``in_the_middle`` when a third of the images is done."""
    checkout.environment |= {
        "HEADSTART_CLUSTER": cluster,
        "HEADSTART_CACHE": str(store),
        "HEADSTART_PROGRESS_S": "0.1",
    }
    command, log = checkout.stage("extract_features"), checkout.folder / "log.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=checkout.folder, env=checkout.environment, stdout=output, stderr=output
        )
        if in_the_middle is not None:
            while process.poll() is None:
                lines = re.findall(r"([0-9,]+) of ([0-9,]+) images", log.read_text())
                done, total = (int(each.replace(",", "")) for each in (lines or [("0", "1")])[-1])
                if 3 * done >= total:
                    in_the_middle()
                    break
                time.sleep(0.1)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(log.read_text())
    if in_the_middle is not None:
        print(
            "".join(line for line in log.read_text().splitlines(keepends=True) if "Worker" in line)
        )
    passes = checkout.statistics("extract_features")
    features = sha256_tree(checkout.folder / "data/features")
    cpu = usage.ru_utime + usage.ru_stime
    return Measured(passes["extraction_seconds"], cpu, passes, features)


def strike(victims: list[subprocess.Popen[str]]) -> None:
    """Kill one worker, and stop another for good."""
    victims[0].kill()
    victims[1].send_signal(signal.SIGSTOP)


def show(name: str, *runs: Measured) -> None:
    """Print a line of the table."""
    seconds = statistics.median(run.seconds for run in runs)
    cpu = statistics.median(run.cpu for run in runs)
    done = runs[0].passes["passes_done"]
    computed = "-"
    if "passes_computed" in runs[0].passes:
        lost = runs[0].passes["passes_unanswered"]
        computed = f"{runs[0].passes['passes_computed']:,}" + (
            f" (+ {lost:,} lost)" if lost else ""
        )
    print(f"{name:<46} {seconds:>8.1f} {done / seconds:>9.0f} {cpu:>7.1f} {done:>9,} {computed}")


if __name__ == "__main__":
    start(main, __doc__)
