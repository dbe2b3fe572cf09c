"""Real processes on loopback, started by the commands of docs/scale-out.md, killed and stopped."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import psutil
import pytest

pytest.importorskip("distributed", reason="needs the extra cluster")
if sys.platform == "win32":
    pytest.skip("signals of POSIX", allow_module_level=True)

from headstart._utils.errors import HeadstartError
from headstart.cluster.connection import cluster
from headstart.cluster.workers import Patience
from headstart.features.store import FeatureStore
from headstart.features.views import RecordedViews
from tests.cluster import made
from tests.conftest import ROOT
from tests.stages import sections, small_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
VIEWS = RecordedViews(8, sections.augment(rotation=20.0, zoom=0.1), 7)
COUNT = 500


class Processes:
    """A scheduler and workers, each a process of its own."""

    def __init__(self, logs: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.logs = logs
        logs.mkdir()
        self.all: list[subprocess.Popen[bytes]] = []
        self.scheduler = self.start("scheduler", f"--port={self.port}")
        self.workers = [
            self.start("worker", self.address, "--processes=1", "--", "--no-nanny")
            for _ in range(3)
        ]

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.logs / f"{len(self.all)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "headstart", "cluster", *command],
                cwd=ROOT, stdout=log, stderr=log,
            )  # fmt: skip
        self.all.append(process)
        return process

    def __enter__(self) -> Self:
        for process in self.workers:
            while b"Registered to" not in self.log(process):
                assert process.poll() is None, self.log(process)
                time.sleep(0.2)
        return self

    def log(self, process: subprocess.Popen[bytes]) -> bytes:
        return (self.logs / f"{self.all.index(process)}.log").read_bytes()

    def __exit__(self, *_: object) -> None:
        for process in self.all:
            process.kill()
            process.wait()


def listening(process: psutil.Process) -> set[str]:
    """Return the addresses on which a process listens."""
    connections = process.net_connections("inet")
    return {each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> made.Images:
    return made.images(tmp_path_factory.mktemp("many") / "shards", COUNT, side=200)


@pytest.fixture(scope="module")
def expected(network: Path, many: made.Images, tmp_path_factory: pytest.TempPathFactory) -> str:
    return made.extracted(network, many, tmp_path_factory.mktemp("one"), views=VIEWS)[1]


@contextlib.contextmanager
def at(passes: int, network: Path, folder: Path, *actions: Callable[[], None]) -> Iterator[None]:
    """Act, one action after another, when so many more passes were committed each time."""
    done = threading.Event()

    def watch() -> None:
        for number, action in enumerate(actions, 1):
            while not done.wait(0.05):
                with FeatureStore(VIEWS.record(made.record(network)), (256,), folder) as store:
                    if store.passes >= number * passes:
                        action()
                        break

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_one_worker_is_killed_and_one_is_stopped(
    network: Path, many: made.Images, expected: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    store = tmp_path / "store"
    with Processes(tmp_path / "logs") as started:
        first, second, _ = started.workers
        with cluster(started.address, many.folder, small_run.RUNTIME) as passes:
            assert passes is not None
            passes._patience = Patience(answer=3.0)
            stop = lambda: second.send_signal(signal.SIGSTOP)  # noqa: E731
            with at(COUNT, network, store, first.kill, stop):
                found, digest = made.extracted(network, many, store, passes, VIEWS)
    assert first.poll() == -signal.SIGKILL
    assert digest == expected
    # `made.extracted` has compared the passes of the store with its rows: each accepted once.
    assert found.done == 8 * COUNT
    assert found.computed is not None
    assert found.computed.withdrawn == 0
    shown = capsys.readouterr().err
    assert "has ended" in shown
    assert "has not answered for" in shown


def test_the_scheduler_is_killed_and_the_next_run_resumes(
    network: Path, many: made.Images, expected: str, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    with Processes(tmp_path / "logs") as started:
        with (
            cluster(started.address, many.folder, small_run.RUNTIME) as passes,
            at(COUNT, network, store, started.scheduler.kill),
            pytest.raises(HeadstartError) as caught,
        ):
            made.extracted(network, many, store, passes, VIEWS)
        for worker in started.workers:
            worker.wait(60)  # a worker without its scheduler ends
    message = str(caught.value)
    assert f"The scheduler of the cluster {started.address} has ended" in message
    found_number = re.search(r"([0-9,]+) of 4,000 features were computed, and are kept", message)
    assert found_number is not None, message
    kept = int(found_number[1].replace(",", ""))
    assert kept >= COUNT
    with (
        Processes(tmp_path / "again") as started,
        cluster(started.address, many.folder, small_run.RUNTIME) as passes,
    ):
        found, digest = made.extracted(network, many, store, passes, VIEWS)
    assert (found.cached, found.done) == (kept, 8 * COUNT - kept)
    assert digest == expected


def test_workers_and_scheduler_listen_on_loopback_alone(tmp_path: Path) -> None:
    with Processes(tmp_path / "logs") as started:
        for process in started.all:
            assert listening(psutil.Process(process.pid)) == {"127.0.0.1"}, started.log(process)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_driver_leaves_no_process_and_the_next_run_resumes(
    network: Path, many: made.Images, expected: str, tmp_path: Path, how: signal.Signals
) -> None:
    """`cluster: local`, and Ctrl-C or kill -9 in the middle."""
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "import pandas as pd\n"
        "from headstart.cluster.connection import cluster\n"
        "from tests.cluster import made\n"
        "from tests.cluster.test_real_workers import VIEWS\n"
        "from tests.stages.small_run import RUNTIME\n"
        "if __name__ == '__main__':\n"
        "    network, shards, rows, store = map(Path, sys.argv[1:])\n"
        "    images = made.Images(shards, pd.read_pickle(rows))\n"
        "    with cluster('local', shards, RUNTIME) as passes:\n"
        "        made.extracted(network, images, store, passes, VIEWS)\n"
    )
    many.rows.to_pickle(tmp_path / "rows")
    store = tmp_path / "store"
    process = subprocess.Popen(
        [sys.executable, str(program), *map(str, (network, many.folder, tmp_path / "rows", store))],
        cwd=ROOT, start_new_session=True, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    children: list[psutil.Process] = []
    addresses: set[str] = set()

    def strike() -> None:
        addresses.update(*map(listening, psutil.Process(process.pid).children(recursive=True)))
        addresses.update(listening(psutil.Process(process.pid)))
        children.extend(psutil.Process(process.pid).children(recursive=True))
        process.send_signal(how) if how == signal.SIGKILL else os.killpg(process.pid, how)

    with at(COUNT, network, store, strike):
        _, errors = process.communicate(timeout=300)
    assert process.returncode in {-signal.SIGINT, -signal.SIGKILL}
    assert how == signal.SIGKILL or errors.count("Traceback") == 1, errors
    assert len(children) >= 2
    assert addresses == {"127.0.0.1"}
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive
    with FeatureStore(VIEWS.record(made.record(network)), (256,), store) as before:
        kept = before.passes
    found, digest = made.extracted(network, many, store, views=VIEWS)
    assert (found.cached, found.done) == (kept, 8 * COUNT - kept)
    assert kept >= COUNT
    assert digest == expected
