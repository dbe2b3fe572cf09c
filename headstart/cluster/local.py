"""What a worker of ``cluster: local`` loads when it starts."""

from __future__ import annotations

import signal

import headstart.cluster.task  # noqa: F401 - loaded before the first task asks for it


def dask_setup(_worker: object) -> None:
    """Leave Ctrl-C, which reaches all processes of a terminal, to the driver: it ends the workers.

    Dask calls it by this name.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
