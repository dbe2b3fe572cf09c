"""The reproduction of a commit as a flow: the verdict is its state, the certificate an artifact."""

from __future__ import annotations

import shlex
import threading
from pathlib import Path
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from headstart._utils.cache import cache_folder
from headstart._utils.errors import HeadstartError
from headstart.runs.certificate import CERTIFICATES, as_markdown, write
from headstart.runs.flow_run import cancellation, current_flow_run
from headstart.runs.rerun import Request, rerun
from headstart.runs.verdict import Verdict

ARTIFACT = "reproduction"


def run_reproduction(
    rev: str = "HEAD",
    root: str | None = None,
    *,
    require: str = "bit-exact",
    warm: bool = False,
    from_source: bool = False,
    changed: list[str] | None = None,
) -> State[Any]:
    """Run a commit again in a clean copy, and compare every output with its dvc.lock.

    Parameters
    ----------
    rev : str
        The commit.
    root : str or None
        The project's folder; None: the current one.
    require : str
        bit-exact, numerically-equal or metric-equal: the least that counts as success.
    warm, from_source : bool
        Use recorded features; fetch the data again.
    changed : list of str or None
        Parameters to set, as ``section.key=value``.

    Returns
    -------
    State
        Completed; Failed with the verdict, or with the reason for none; Cancelled.
    """
    flow_run = current_flow_run("reproduce")
    folder = Path(root or Path.cwd()).resolve()
    log, stop = get_run_logger(), threading.Event()
    try:
        request = Request(
            rev,
            require=_verdict(require),
            warm=cache_folder() if warm else None,
            from_source=from_source,
            changed=tuple(changed or ()),
            command=shlex.join(["prefect", "flow", "reproduce", rev]),
        )
        with cancellation(flow_run.id, stop, log.warning):
            made = rerun(folder, request, say=log.info, stop=stop)
    except HeadstartError as error:
        if stop.is_set():
            return Cancelled(message=f"The reproduction of {rev} was canceled.")
        return Failed(message=str(error))
    paths = write(made, folder / CERTIFICATES / made.commit[:12])
    said = f"{made.commit[:12]}: {made.line()}"
    log.info("%s Certificate: %s", said, paths[1])
    try:
        create_markdown_artifact(as_markdown(made), key=ARTIFACT, description=said)
    except Exception as error:  # noqa: BLE001 - the server may be gone; the verdict stands
        log.warning("Prefect's server did not accept the certificate: %s", error)
    return Completed(message=said) if made.reached else Failed(message=said)


def _verdict(require: str) -> Verdict:
    known = [verdict.value for verdict in Verdict if verdict is not Verdict.DIFFERENT]
    if require not in known:
        raise HeadstartError(
            f"`require` must be one of {', '.join(known)}. Got {require!r} instead."
        )
    return Verdict(require)
