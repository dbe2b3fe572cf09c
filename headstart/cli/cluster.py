"""`headstart cluster`: the scheduler and the workers that compute features, by Dask."""

from __future__ import annotations

import os
import socket
import sys
from typing import Annotated, NoReturn
from urllib.parse import urlsplit

import typer

from headstart._utils.errors import HeadstartError, WiringError
from headstart._utils.machine import cores
from headstart.cli.front import command, register

_PORT = 8786  # Dask's own
_LOOPBACK = "127.0.0.1"
#: Dask's pages and their server, which would listen on all addresses.
_NO_PAGES = ["--no-dashboard", f"--dashboard-address={_LOOPBACK}:0"]
_TRUST = "Whoever reaches it can run programs as this user"

More = Annotated[
    list[str] | None,
    typer.Argument(metavar="[-- DASK OPTIONS]", help="Passed on to Dask, such as --tls-ca-file."),
]


def _app() -> typer.Typer:
    app = typer.Typer(
        name="cluster",
        help="Start workers that compute features on several machines.",
        epilog="Examples: headstart cluster scheduler | headstart cluster worker",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    register(app, scheduler, worker)
    return app


@command(
    epilog="Examples: headstart cluster scheduler | headstart cluster scheduler --host 10.0.0.5 -- "
    "--protocol tls --tls-ca-file ca.pem --tls-cert cert.pem --tls-key key.pem"
)
def scheduler(
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help=f"The address of this machine to listen on. {_TRUST}: use another than "
            f"{_LOOPBACK} only in a network that you trust, or with TLS.",
        ),
    ] = _LOOPBACK,
    port: Annotated[int, typer.Option(min=1, max=65_535, help="The port.")] = _PORT,
    more: More = None,
) -> None:
    """Run the scheduler of a cluster, until interrupted.

    Then start workers with `headstart cluster worker`, and run the pipeline with
    HEADSTART_CLUSTER=tcp://HOST:PORT in the environment, or the parameter extract_features.cluster.
    It is `dask scheduler` without the page that would listen on all addresses.
    """
    _become("dask_scheduler", [f"--host={host}", f"--port={port}", *_NO_PAGES, *(more or ())])


@command(
    epilog="Examples: headstart cluster worker | headstart cluster worker tcp://10.0.0.5:8786 "
    "--processes 8"
)
def worker(
    address: Annotated[
        str, typer.Argument(metavar="SCHEDULER", help="The address of the scheduler.")
    ] = f"tcp://{_LOOPBACK}:{_PORT}",
    processes: Annotated[
        int | None,
        typer.Option(min=1, max=1024, help="Processes, of one thread each. Default: one per core."),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="The address of this machine to listen on. Default: the one that the scheduler "
            f"is reached from. {_TRUST}.",
        ),
    ] = None,
    more: More = None,
) -> None:
    """Run workers that compute features for a scheduler, until interrupted.

    A process that ends is started again. The machine needs the same packages as the one that runs
    the pipeline, which refuses workers with others. It needs no project: the converted network and
    images are sent to workers that cannot read them under the same path.
    """
    options = [f"--nworkers={processes or cores()}", "--nthreads=1", "--memory-limit=0"]
    options += ["--preload=headstart.cluster.task"]
    # Without a host, Dask's workers listen on all addresses, even for a scheduler on loopback.
    options += [f"--host={host or _reached_from(address)}", *_NO_PAGES]
    _become("dask_worker", [address, *options, *(more or ())])


def _reached_from(address: str) -> str:
    """Return the address of this machine from which a scheduler is reached."""
    from headstart.features.parameters import ADDRESS

    if not ADDRESS.fullmatch(address):
        raise WiringError(
            "The address of a scheduler must be like tcp://127.0.0.1:8786 or tls://10.0.0.5:8786. "
            f"Got {address[:80]!r} instead. Nothing was started."
        )
    parts = urlsplit(address)
    try:
        [(family, *_, target), *_] = socket.getaddrinfo(
            parts.hostname, parts.port, type=socket.SOCK_DGRAM
        )
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(target)  # sends nothing
            return str(probe.getsockname()[0])
    except (OSError, ValueError) as error:
        raise HeadstartError(
            f"The scheduler at {address} cannot be reached: {error}. Nothing was started. Check "
            "the address, and that `headstart cluster scheduler` runs there."
        ) from error


def _become(program: str, options: list[str]) -> NoReturn:
    """Replace this process by one of Dask's programs."""
    from headstart.cluster.connection import require_extra

    require_extra()
    command_line = [sys.executable, "-m", f"distributed.cli.{program}", *options]
    os.execv(sys.executable, command_line)  # noqa: S606 - options of ours, and of the user


app = _app()
