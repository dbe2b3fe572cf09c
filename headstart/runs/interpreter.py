"""The Python that runs a commit's stages, and whether it has the packages of that commit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from headstart._utils.errors import HeadstartError
from headstart.pipeline.git import Commit
from headstart.runs import child
from headstart.stage import versions

LOCK = "lock"
_RUNTIME, _REQUIREMENTS = "runtime.txt", "requirements.lock"
_COMPLETE = "requirements-dev.lock"
_ASK = """
import json, sys
from importlib import metadata
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def choose(
    python: str | None,
    commit: Commit,
    folder: Path,
    *,
    say: Callable[[str], None],
    stop: threading.Event | None = None,
) -> Path:
    """Return the requested Python; it has the versions that decide the commit's bytes.

    Parameters
    ----------
    python : str or None
        A path; "lock": make an environment in ``folder`` from the commit's requirements.lock, with
        this Python; None: this Python.

    Raises
    ------
    HeadstartError
        If there is none, it cannot be made, or its packages are others.
    """
    if python == LOCK:
        found = _make(commit, folder / "environment", say, stop)
    else:
        # Not resolved: a link is what makes the Python of an environment that environment's.
        found = Path(python or sys.executable).expanduser().absolute()
        if not found.is_file() or not os.access(found, os.X_OK):
            raise HeadstartError(
                f"There is no Python at {found}. Nothing was run. --python takes the path of one, "
                "as .venv/bin/python, or the word lock."
            )
    _check(commit, found)
    return found


def path_variable(python: Path) -> Mapping[str, str]:
    """Return the variable that makes ``python`` in a stage's command that one."""
    return {"PATH": f"{python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}


def _make(
    commit: Commit, folder: Path, say: Callable[[str], None], stop: threading.Event | None
) -> Path:
    # The complete lock where there is one: the commit may have used an extra, as for ONNX.
    text = commit.content(_COMPLETE) or commit.content(_REQUIREMENTS)
    if text is None:
        raise HeadstartError(
            f"Commit {commit} has no {_REQUIREMENTS} to make an environment from. Nothing was run. "
            "Make one by hand, and name its Python with --python."
        )
    folder.mkdir(parents=True)
    lock = folder / _REQUIREMENTS
    lock.write_bytes(text)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    say(f"Making an environment from the commit's {_REQUIREMENTS} (minutes) …")
    install = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-deps"]
    for words in (
        [sys.executable, "-m", "venv", str(folder)],
        [*install, "--quiet", "--require-hashes", "-r", str(lock)],
    ):
        said: list[str] = []
        ended = child.run(words, folder=folder, on_line=said.append, stop=stop)
        if ended.stopped:
            raise KeyboardInterrupt
        if ended.code != 0:
            raise HeadstartError(
                f"The environment of commit {commit} could not be made with Python "
                f"{sys.version.split()[0]}. Nothing was run. The last lines:\n"
                + "\n".join(f"  {line}" for line in said[-8:])
            )
    return python


def _check(commit: Commit, python: Path) -> None:
    """Check the versions before the first stage runs: each of them would refuse."""
    wanted = versions.parse((commit.content(_RUNTIME) or b"").decode())
    got = _versions(python, list(wanted))
    wrong = [
        f"  - {name}: {version} then, {got.get(name, 'none')} installed now"
        for name, version in wanted.items()
        if got.get(name) != version
    ]
    if wrong:
        raise HeadstartError(
            f"Commit {commit} was made with other versions of what decides the bytes, and its "
            f"stages refuse to run with those of {python}. Nothing was run.\n"
            + "\n".join(wrong)
            + f"\n`headstart reproduce {commit.sha[:12]} --python lock` makes the commit's own "
            "environment first (minutes, and some GB); --python PATH takes one that you have."
        )


def _versions(python: Path, names: list[str]) -> Mapping[str, str]:
    words = [str(python), "-I", "-c", _ASK, *names]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        found: Mapping[str, str] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or error
        raise HeadstartError(
            f"{python} is not a Python that can list its packages: {said}. Nothing was run."
        ) from error
    return found
