"""The faults of an installation or a project, each with its remedy."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headstart._utils.cache import cache_folder
from headstart._utils.disk import amount, existing_folder, free_space
from headstart._utils.errors import HeadstartError
from headstart._utils.machine import is_nameless
from headstart.cli.front import read_parameters

#: A run on small images needs less; a set of photographs needs more.
LEAST_FREE = 1 << 30


@dataclass(frozen=True)
class Fault:
    """Something wrong; ``stops`` is False if only some commands are affected, and no run."""

    what: str
    cure: str
    stops: bool = True

    def __str__(self) -> str:
        return f"{self.what} {self.cure}"


def of_machine(folders: tuple[Path, ...]) -> Iterator[Fault]:
    """Yield the faults of the machine: git, the user's name, the disk, the cache folder.

    Parameters
    ----------
    folders : tuple of Path
        Folders that a run writes to.
    """
    if shutil.which("git") is None:
        yield Fault(
            "There is no `git` on the path, which commits, `headstart init` and `reproduce` need.",
            "Install git: https://git-scm.com/downloads.",
            stops=False,
        )
    if is_nameless():
        yield Fault(
            "This user has no name, and `dvc` called by hand fails without one.",
            "Run `export USER=me` first; the commands of headstart do that by themselves.",
            stops=False,
        )
    disks = {existing_folder(folder).stat().st_dev: folder for folder in reversed(folders)}
    for folder in reversed(disks.values()):
        free = free_space(folder)
        if free < LEAST_FREE:
            yield Fault(
                f"Only {amount(free)} is free on the disk of {folder}.",
                "Make room, or move the caches: `dvc cache dir FOLDER` moves DVC's cache, and the "
                "environment variable HEADSTART_CACHE moves the feature store.",
            )
    cache = existing_folder(cache_folder())
    if not os.access(cache, os.W_OK):
        yield Fault(
            f"The cache folder {cache} cannot be written.",
            "Name another one in the environment variable HEADSTART_CACHE.",
        )


def of_project(root: Path) -> Iterator[Fault]:
    """Yield the faults of a project: parameters, versions, git's identity, locks left behind."""
    from headstart.pipeline import graph
    from headstart.pipeline.git import Repository
    from headstart.pipeline.stale_locks import stale_locks
    from headstart.stage import versions

    try:
        read_parameters(root / "params.yaml")
    except HeadstartError as error:
        yield Fault(str(error), "`headstart params` checks the file again.")
    try:
        graph.require_sources(root, graph.stages(root))
    except HeadstartError as error:
        yield Fault(str(error), "")
    try:
        versions.check(root / "runtime.txt")
    except HeadstartError as error:
        yield Fault(str(error), "")
    if shutil.which("git") is None:
        return
    repository = Repository(root)
    for lock in stale_locks(root):
        remove = "del" if sys.platform == "win32" else "rm"
        yield Fault(f"{lock.path} {lock.why}.", f"Remove it: `{remove} '{lock.path}'`.")
    if not repository.ask("rev-parse", "--show-toplevel"):
        return
    missing = [key for key in ("user.name", "user.email") if not repository.ask("config", key)]
    if missing:
        yield Fault(
            f"git does not know your {' and '.join(missing)}, which commits and `dvc exp` need.",
            'Run `git config --global user.name "Your Name"` and `git config --global user.email '
            "you@example.org`.",
            stops=False,
        )
