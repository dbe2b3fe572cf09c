"""A project as DVC reads it in this process, under the names that ``dvc repro`` takes there.

Beside `dag`, `changes` and `recorded` nobody imports DVC.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.lock import LockError
from dvc.repo import Repo

from headstart._utils.errors import HeadstartError


class GraphError(HeadstartError):
    """DVC cannot read the project."""


@contextmanager
def opened(root: Path) -> Iterator[Any]:
    """The project; takes no lock. Raises GraphError if it is none, or its files are invalid."""
    # What DVC notes about an empty folder belongs to a run, not to a question.
    notes = logging.getLogger("dvc")
    level = notes.level
    notes.setLevel(logging.ERROR)
    try:
        with Repo(os.fspath(root)) as repo:
            yield repo
    except NotDvcRepoError:
        raise GraphError(
            f"{root} is no DVC project. Run from the project's folder; in a new copy without a "
            ".dvc folder, run `dvc init` first."
        ) from None
    except DvcException as error:
        causes = f" ({error.__cause__})" if error.__cause__ else ""
        raise GraphError(
            f"DVC cannot read the pipeline: {error}{causes}. Nothing was run. `dvc dag` shows the "
            "same fault in DVC's own words."
        ) from error
    finally:
        notes.setLevel(level)


@contextmanager
def locked(root: Path, *, wait: bool) -> Iterator[None]:
    """Hold DVC's lock of the project, as any command of DVC's does.

    Raises
    ------
    GraphError
        If another command holds it for more than three seconds, and ``wait`` is False.
    """
    with Repo(os.fspath(root), _wait_for_lock=wait) as repo:
        try:
            repo.lock.lock()
        except LockError as error:
            raise GraphError(str(error)) from error
        try:
            yield
        finally:
            repo.lock.unlock()


def name_of(repo: Any, stage: Any) -> str:
    """As ``dvc repro`` takes it in the project's folder; DVC's own goes by the current one."""
    file = Path(os.path.relpath(stage.path, repo.root_dir)).as_posix()
    return str(stage.name) if file == "dvc.yaml" else f"{file}:{stage.name}"


def lock_of(repo: Any, stage: Any) -> str:
    """The file that records a stage."""
    file = Path(os.path.relpath(stage.path, repo.root_dir))
    return file.with_suffix(".lock").as_posix()


def path_of(repo: Any, item: Any) -> str:
    """Of a dependency or an output, relative to the project's folder, with ``/``."""
    return Path(os.path.relpath(item.fs_path, repo.root_dir)).as_posix()
