"""Steps of prefect.yaml around the clone that a scheduled run gets: what it needs to be useful.

A worker makes a clone for each run and deletes it afterwards. A cache that outlives the clone is
what keeps every run from computing everything again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from configparser import ConfigParser
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar
from urllib.parse import urlparse

import platformdirs
from prefect.logging import get_logger

from headstart._utils.errors import HeadstartError
from headstart.pipeline.git import GitError, Repository
from headstart.pipeline.settings import plain, quoted

P = ParamSpec("P")
T = TypeVar("T")


def told(step: Callable[P, T]) -> Callable[P, T]:
    """Let a step's error reach the run's page; Prefect leaves it to the worker's terminal."""

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


@told
def expect(repository: str = "", branch: str = "") -> None:
    """Say what is missing, before a clone fails.

    Parameters
    ----------
    repository : str
        Address or folder of the git repository.
    branch : str
        Empty: the repository's default.

    Raises
    ------
    HeadstartError
        If it is not named, cannot be read, or has no such branch.
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


@told
def prepare(directory: str, cache: str = "", remote: str = "") -> dict[str, str]:
    """Give a clone a DVC cache that stays, and a remote that is there from where it lies.

    Written to the clone's ``.dvc/config.local``, which git ignores: its tree stays clean.

    Parameters
    ----------
    directory : str
        The clone.
    cache : str
        Folder of the cache; empty: ``dvc`` in ``$HEADSTART_CACHE``, else in the user's cache
        folder.
    remote : str
        Address of DVC's default remote; empty: the project's. If that is a folder given relative to
        the project, the origin's own is taken where the origin is a folder too, else none.

    Returns
    -------
    dict of str to str
        ``directory``, ``cache`` and ``remote``, absolute.
    """
    folder = Path(directory).resolve()
    stays = Path(cache).expanduser() if cache.strip() else _cache_folder()
    if not stays.is_absolute():
        raise HeadstartError(
            f"HEADSTART_DVC_CACHE is {cache!r}; a folder from the root on was expected, because "
            "every run has a clone somewhere else. Nothing was run."
        )
    stays.mkdir(parents=True, exist_ok=True)
    project = _read(folder / ".dvc" / "config")
    name = _get(project, "core", "remote")
    address = remote.strip() or _reachable(folder, _get(project, _section(name), "url"))
    own = _read(folder / ".dvc" / "config.local")
    _set(own, "cache", "dir", os.fspath(stays))
    _set(own, "core", "remote", (name or "storage") if address else "")
    if address:
        _set(own, _section(name or "storage"), "url", address)
    with (folder / ".dvc" / "config.local").open("w", encoding="utf-8") as file:
        own.write(file)
    print(f"Clone: {folder}; DVC's cache: {stays}; its remote: {address or 'none'}")
    return {"directory": os.fspath(folder), "cache": os.fspath(stays), "remote": address}


def _cache_folder() -> Path:
    given = os.environ.get("HEADSTART_CACHE") or platformdirs.user_cache_dir("headstart")
    return Path(given).expanduser().absolute() / "dvc"


def _reachable(folder: Path, address: str) -> str:
    """The address as it has to be said in a clone; "" if it leads nowhere."""
    if not address or urlparse(address).scheme or Path(address).is_absolute():
        return address
    origin = Path(Repository(folder).ask("config", "remote.origin.url").removeprefix("file://"))
    if not origin.is_dir():
        return ""
    return os.path.normpath(origin.resolve() / ".dvc" / address)


def _read(file: Path) -> ConfigParser:
    """DVC's configuration as it is written; DVC's own answers have other paths than the file."""
    parser = ConfigParser(interpolation=None)
    parser.read(file, encoding="utf-8")
    return parser


def _section(remote: str) -> str:
    return f"'remote \"{remote}\"'"


def _get(parser: ConfigParser, section: str, key: str) -> str:
    return plain(parser.get(section, key, fallback=""))


def _set(parser: ConfigParser, section: str, key: str, value: str) -> None:
    if not parser.has_section(section):
        parser.add_section(section)
    parser.set(section, key, quoted(value))
