"""The way to a cluster by a real scheduler and real workers of Dask, in this process."""

from __future__ import annotations

import importlib.util
import socket
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("distributed", reason="needs the extra cluster")

from headstart._utils.errors import HeadstartError
from headstart.cluster import connection
from headstart.cluster.connection import REMOTE, VARIABLE, cluster
from tests.cluster import made
from tests.stages.small_run import RUNTIME


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (VARIABLE, REMOTE):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def scheduler() -> Iterator[Any]:
    """Two workers of one thread, in threads of this process, by TCP."""
    from distributed import LocalCluster

    with (
        warnings.catch_warnings(),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=False,
            protocol="tcp",
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
        ) as running,
    ):
        warnings.simplefilter("ignore")
        yield running


def test_the_bits_are_those_of_one_process(
    network: Path, images: made.Images, tmp_path: Path, scheduler: Any
) -> None:
    _, expected = made.extracted(network, images, tmp_path / "one")
    with cluster(scheduler.scheduler_address, images.folder, RUNTIME) as passes:
        assert passes is not None
        found, digest = made.extracted(network, images, tmp_path / "cluster", passes)
    assert digest == expected
    assert found.done == 60
    assert found.computed is not None
    assert found.computed.workers == 2
    assert found.computed.unanswered == found.computed.withdrawn == 0


def test_a_task_that_raises_is_told_from_one_that_is_lost(scheduler: Any) -> None:
    from contextlib import ExitStack

    from headstart.cluster.workers import LostError

    with ExitStack() as stack:
        dask = connection._connected(scheduler.scheduler_address, stack)
        worker = next(iter(dask.threads()))
        ended = threading.Event()
        failing = dask.submit(worker, lambda _: ended.set(), int, "no number")
        assert ended.wait(20)
        with pytest.raises(ValueError, match="no number"):
            failing.outcome(10)
        ended.clear()
        waiting = dask.submit("tcp://127.0.0.1:1", lambda _: ended.set(), int, "1")
        with pytest.raises(LostError):
            waiting.outcome(10)
        waiting.release()


def test_a_scheduler_that_ends_is_noticed(scheduler: Any) -> None:
    from contextlib import ExitStack

    from headstart.cluster.workers import SchedulerLostError

    with ExitStack() as stack:
        dask = connection._connected(scheduler.scheduler_address, stack)
        assert list(dask.threads().values()) == [1, 1]
        scheduler.close()
        with pytest.raises(SchedulerLostError):
            dask.threads()
        with pytest.raises(SchedulerLostError):
            dask.submit("tcp://127.0.0.1:1", lambda _: None, int, "1")


def test_no_scheduler(images: made.Images, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_CONNECT_S", 0.5)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{closed.getsockname()[1]}"
    with cluster(address, images.folder, RUNTIME) as passes:
        assert passes is not None
        with pytest.raises(HeadstartError) as caught:
            passes._connect()
    message = str(caught.value)
    assert f"There is no scheduler of Dask at {address}" in message
    assert "headstart cluster scheduler" in message
    assert "HEADSTART_CLUSTER=none" in message


def test_no_cluster(images: made.Images, monkeypatch: pytest.MonkeyPatch) -> None:
    with cluster(None, images.folder, RUNTIME) as passes:
        assert passes is None
    monkeypatch.setenv(VARIABLE, "none")
    with cluster("tcp://127.0.0.1:1", images.folder, RUNTIME) as passes:
        assert passes is None


def test_the_variable_takes_precedence(
    images: made.Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert connection._chosen("local") == "local"
    monkeypatch.setenv(VARIABLE, "tls://10.0.0.5:8786")
    assert connection._chosen("local") == connection._chosen(None) == "tls://10.0.0.5:8786"
    monkeypatch.setenv(VARIABLE, "localhost:8786")
    with (
        pytest.raises(HeadstartError, match="Got 'localhost:8786' instead"),
        cluster(None, images.folder, RUNTIME),
    ):
        pass


def test_without_the_extra(images: made.Images, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "distributed" else find(name)
    )
    with (
        pytest.raises(HeadstartError, match=r"distributed is not installed.*headstart\[cluster\]"),
        cluster("local", images.folder, RUNTIME),
    ):
        pass


def test_a_remote_that_is_no_address_is_refused(
    images: made.Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wrong in ("/mnt/dvc", "s3:/bucket", "https://example.com/dvc", "s3://"):
        monkeypatch.setenv(REMOTE, wrong)
        with (
            pytest.raises(HeadstartError, match=rf"{REMOTE} must be the address of a DVC remote"),
            cluster("tcp://127.0.0.1:1", images.folder, RUNTIME),
        ):
            pass
    with cluster(None, images.folder, RUNTIME) as passes:
        assert passes is None, "without a cluster, nobody asks for it"
