"""Pull steps of prefect.yaml around the clone of a scheduled run.

A worker makes a clone for each run and deletes it afterwards. A DVC cache that outlives the clone
keeps every run from computing everything again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar
from urllib.parse import urlparse

from prefect.logging import get_logger

from headstart._utils.cache import cache_folder
from headstart._utils.errors import HeadstartError
from headstart.pipeline.git import GitError, Repository
from headstart.pipeline.storage import default_remote, set_locally

P = ParamSpec("P")
T = TypeVar("T")


def reported(step: Callable[P, T]) -> Callable[P, T]:
    """Log a step's error on the run's page, too; Prefect prints it in the worker's terminal."""

    @wraps(step)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return step(*args, **kwargs)
        except HeadstartError as error:
            run = os.environ.get("PREFECT__FLOW_RUN_ID")
            if run:
                names = {"flow_run_id": run, "flow_run_name": run}  # the server has a better one
                get_logger("flow_runs").error(str(error), extra=names)
            raise

    return wrapper


@reported
def expect(repository: str = "", branch: str = "") -> None:
    """Check that the repository can be cloned.

    Parameters
    ----------
    repository : str
        Address or folder of the git repository.
    branch : str
        Empty: the repository's default.

    Raises
    ------
    HeadstartError
        If no repository is named, it cannot be read, or it has no such branch.
    """
    if not repository.strip():
        raise HeadstartError(
            "The worker does not know which git repository to clone: HEADSTART_REPOSITORY is not "
            "set in its environment. Nothing was run. Stop the worker and start it again with "
            "`HEADSTART_REPOSITORY=ADDRESS prefect worker start …` (docs/scheduling.md)."
        )
    wanted = f"refs/heads/{branch}" if branch else "HEAD"
    try:
        found = Repository(Path.cwd()).git("ls-remote", "--", repository, wanted)
    except GitError as error:
        raise HeadstartError(
            f"The repository that HEADSTART_REPOSITORY names cannot be read by the worker. Nothing "
            f"was run. {error}"
        ) from error
    if not found:
        what = f"no branch {branch} (HEADSTART_BRANCH)" if branch else "no commit"
        raise HeadstartError(f"The repository {repository} has {what}. Nothing was run.")


@reported
def prepare(directory: str, cache: str = "", remote: str = "") -> dict[str, str]:
    """Configure a clone: a DVC cache that outlives it, and a remote that it can reach.

    Written to the clone's ``.dvc/config.local``, which git ignores: its tree stays clean.

    Parameters
    ----------
    directory : str
        The clone.
    cache : str
        Folder of the cache; empty: ``dvc`` in ``$HEADSTART_CACHE``, else in the user's cache
        folder.
    remote : str
        Address of DVC's default remote; empty: the project's. If that is a folder relative to
        the project, the origin's own is taken where the origin is a folder too, else none.

    Returns
    -------
    dict of str to str
        ``directory``, ``cache`` and ``remote``, absolute.
    """
    folder = Path(directory).resolve()
    stays = Path(cache).expanduser() if cache.strip() else cache_folder() / "dvc"
    if not stays.is_absolute():
        raise HeadstartError(
            f"HEADSTART_DVC_CACHE is {cache!r}; an absolute folder was expected, because every "
            "run has a clone in another folder. Nothing was run."
        )
    stays.mkdir(parents=True, exist_ok=True)
    name, declared = default_remote(folder)
    address = remote.strip() or _reachable(folder, declared)
    name = name or "storage"
    settings = {"core": {"remote": name if address else ""}, "cache": {"dir": os.fspath(stays)}}
    set_locally(folder, settings | ({f'remote "{name}"': {"url": address}} if address else {}))
    print(f"Clone: {folder}; DVC's cache: {stays}; its remote: {address or 'none'}")
    return {"directory": os.fspath(folder), "cache": os.fspath(stays), "remote": address}


def _reachable(folder: Path, address: str) -> str:
    """Return the address as seen from a clone; "" if it leads nowhere."""
    if not address or urlparse(address).scheme or Path(address).is_absolute():
        return address
    origin = Path(Repository(folder).ask("config", "remote.origin.url").removeprefix("file://"))
    if not origin.is_dir():
        return ""
    return os.path.normpath(origin.resolve() / ".dvc" / address)
