"""The way to a cluster by Dask: the only module that imports it."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any

from headstart._utils.errors import HeadstartError
from headstart._utils.extras import needs_extra
from headstart._utils.machine import cores
from headstart.cluster.passes import ClusterPasses
from headstart.cluster.workers import LostError, Pending, SchedulerLostError
from headstart.features.parameters import ADDRESS
from headstart.objects.place import PROTOCOLS
from headstart.stage import versions

#: Takes precedence over the parameter: where the workers are is a matter of the machine.
VARIABLE = "HEADSTART_CLUSTER"
#: Where workers read the shards that they do not have as files.
REMOTE = "HEADSTART_CLUSTER_REMOTE"
LOCAL, NONE = "local", "none"
_CONNECT_S = 20.0
_ANSWER_S = 30.0
_LOGGERS = ("distributed", "distributed.client", "tornado", "tornado.application", "asyncio")


@contextmanager
def cluster(address: str | None, images: Path, runtime: Path) -> Iterator[ClusterPasses | None]:
    """Yield the passes by a cluster; it is connected when the first image is missing.

    Parameters
    ----------
    address : str or None
        ``local``, ``tcp://HOST:PORT`` or ``tls://HOST:PORT``; None: no cluster. The environment
        variable ``HEADSTART_CLUSTER`` takes precedence; there, ``none`` stands for None. With
        ``HEADSTART_CLUSTER_REMOTE``, workers read shards from a DVC remote in object storage.
    images : Path
        Folder of the shards.
    runtime : Path
        The list of packages that workers must have in the same versions.

    Raises
    ------
    HeadstartError
        If the variable holds something else, or the extra is not installed. When it is connected:
        if there is no scheduler.
    """
    address = _chosen(address)
    if address is None:
        yield None
        return
    require_extra()
    with ExitStack() as stack:
        needed = {**versions.read(runtime), "headstart": metadata.version("headstart")}
        connect = cache(partial(_connected, address, stack))
        yield ClusterPasses(connect, images, needed, remote=_remote())


def require_extra() -> None:
    """Refuse to go on without Dask.

    Raises
    ------
    HeadstartError
    """
    absent = [name for name in ("dask", "distributed") if importlib.util.find_spec(name) is None]
    if absent:
        raise HeadstartError(
            f"{needs_extra('A cluster', 'cluster', ' and '.join(absent))} (It is the extra "
            "headstart[cluster].) Nothing was started. Without it, all passes are computed in one "
            f"process: `extract_features.cluster: null`, or `{VARIABLE}={NONE}` in the environment."
        )


def _chosen(address: str | None) -> str | None:
    asked = os.environ.get(VARIABLE)
    if not asked:
        return address
    if asked == NONE:
        return None
    if asked != LOCAL and not ADDRESS.fullmatch(asked):
        raise HeadstartError(
            f"The environment variable {VARIABLE} must be {NONE}, {LOCAL}, or the address of a "
            f"Dask scheduler such as tcp://127.0.0.1:8786. Got {asked[:80]!r} instead. Nothing was "
            "computed."
        )
    return asked


def _remote() -> str | None:
    """Return the address of the remote that workers read the shards from, if there is one."""
    remote = os.environ.get(REMOTE)
    if remote and not re.fullmatch(rf"({'|'.join(PROTOCOLS)})://[^/\s]+(/\S*)?", remote):
        raise HeadstartError(
            f"The environment variable {REMOTE} must be the address of a DVC remote in object "
            "storage, such as s3://my-bucket/dvc (`dvc remote list` shows it). Got "
            f"{remote[:80]!r} instead. Nothing was computed."
        )
    return remote or None


class Dask:
    """A client of a Dask scheduler; all methods are called from one thread.

    Parameters
    ----------
    client : distributed.Client
    name : str
        The address, or ``local``.
    remedy : str
        What to do if there are no workers: a sentence without its period.
    """

    def __init__(self, client: Any, name: str, remedy: str) -> None:
        self._client = client
        self.name, self.remedy = name, remedy

    def threads(self) -> Mapping[str, int]:
        """Return the threads of each connected worker, by its address."""
        self._require_running()
        try:
            threads: Mapping[str, int] = self._client.sync(
                self._client.scheduler.ncores, callback_timeout=_ANSWER_S
            )
        except (OSError, TimeoutError, RuntimeError) as error:  # Dask's errors are among them.
            raise SchedulerLostError(_reason(error)) from error
        self._require_running()
        return threads

    def submit(
        self, worker: str, ended: Callable[[Pending], None], function: Any, *arguments: Any
    ) -> Pending:
        """Let a worker call a function; ``ended`` is called, in any thread, when it has ended."""
        self._require_running()
        future = self._client.submit(
            function, *arguments, workers=[worker], allow_other_workers=False, pure=False
        )
        pending = _Future(future)
        future.add_done_callback(lambda _: ended(pending))
        return pending

    def _require_running(self) -> None:
        if self._client.status != "running":
            raise SchedulerLostError("the connection is closed")


class _Future:
    def __init__(self, future: Any) -> None:
        self._future = future

    def outcome(self, timeout: float) -> Any:
        from distributed import KilledWorker
        from distributed.comm.core import CommClosedError

        try:
            if self._future.status == "finished":
                return self._future.result(timeout=timeout)
            if self._future.status != "error":
                raise LostError(self._future.status)
            raised = self._future.exception(timeout=timeout)
        except (OSError, TimeoutError) as error:  # of Dask: it was not raised by the task
            raise LostError(_reason(error)) from error
        if isinstance(raised, KilledWorker | CommClosedError):
            raise LostError(_reason(raised))
        raise raised

    def release(self) -> None:
        self._future.release()


def _connected(address: str, stack: ExitStack) -> Dask:
    """Return the connection to a scheduler, which ``stack`` closes."""
    import dask.config

    # The network, and images that a worker cannot read itself, are sent with the tasks.
    stack.enter_context(dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}))
    from distributed import Client, LocalCluster

    start: Any = LocalCluster
    connect: Any = Client

    for name in _LOGGERS:  # What matters is in our own messages.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    remedy = f"`headstart cluster worker {address}` starts workers"
    target: Any = address
    if address == LOCAL:
        remedy = f"Its processes have ended; `{VARIABLE}={NONE}` computes in this one instead"
        target = stack.enter_context(
            start(
                n_workers=cores(),
                threads_per_worker=1,
                host="127.0.0.1",
                # Pages that nobody needs; without an address, they are on all of them.
                dashboard_address="127.0.0.1:0",
                worker_dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False},
                preload="headstart.cluster.local",
                memory_limit=0,  # no process is ended for the size of a network
                silence_logs=logging.CRITICAL,
                local_directory=stack.enter_context(tempfile.TemporaryDirectory()),
            )
        )
    try:
        _require_certificates(address)
        client = connect(target, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError, TypeError) as error:
        raise HeadstartError(
            f"There is no scheduler of Dask at {address} ({_reason(error)}). Nothing was computed. "
            "Start one with `headstart cluster scheduler`, and workers with `headstart cluster "
            f"worker {address}`, and run again (docs/scale-out.md); or run without: "
            f"`extract_features.cluster: null`, or `{VARIABLE}={NONE}` in the environment."
        ) from error
    stack.callback(_close, client)
    return Dask(client, address, remedy)


def _require_certificates(address: str) -> None:
    from distributed.security import Security

    if address.startswith("tls:") and not Security().get_connection_args("client")["ssl_context"]:
        raise ValueError(
            "the variables DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__CLIENT__CERT and "
            "…__CLIENT__KEY must name the files of your certificates"
        )


def _close(client: Any) -> None:
    with suppress(OSError, TimeoutError):
        client.close(timeout=5)


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
