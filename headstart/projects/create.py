"""Create a project around the installed library, or compare one with the installed version.

A project is this repository's pipeline without the library: its stages depend on ``runtime.txt``,
which names the library's version, where the repository's depend on the library's folders.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from headstart._utils.errors import RECORD, HeadstartError
from headstart._utils.files import sha256_bytes, write_bytes, write_json
from headstart.projects.missing_parameters import with_missing
from headstart.projects.shipped import shipped

LIBRARY = "headstart"
_TEMPLATES = {
    ".gitignore": "gitignore",
    "README.md": "README.md",
    ".github/workflows/headstart.yml": ".github/workflows/headstart.yml",
    ".devcontainer/devcontainer.json": ".devcontainer/devcontainer.json",
    "Dockerfile": "Dockerfile",
    "compose.yaml": "compose.yaml",
}
#: Written once, and the user's from then on: upgrades ignore them.
_OWN = ("README.md", "data/corrections.csv", "data/raw/README.md", "requirements.lock")
#: Of these, what the pipeline needs: an upgrade adds it where it is missing.
_NEEDED = ("data/corrections.csv",)
_PIPELINE = """\
# The pipeline: what each stage reads, runs and writes. `dvc repro` runs what changed. A stage
# depends on its own module and on runtime.txt, which names the version of the library.
"""
_LIBRARY_DEPENDENCY = re.compile(r"^headstart(/|$)")


@dataclass(frozen=True)
class Change:
    """A file of a project that a newer version of the library would write differently.

    Attributes
    ----------
    path : str
    kind : "added", "replaced", "removed", "extended" or "conflict"
        ``conflict``: the user has edited the file, and the library's version changed, too.
        ``extended``: so it is with params.yaml, and only the parameters that it lacks are added.
    old, new : str
        The project's text, and what it would become; of a conflict, the library's.
    """

    path: str
    kind: str
    old: str
    new: str


def project_files(name: str) -> Mapping[str, bytes]:
    """Return the files of a new project by path.

    Parameters
    ----------
    name : str
        The project's name, as its README shows it.
    """
    files = {path: content for path, content in shipped() if not path.startswith("recipes/")}
    files["dvc.yaml"] = _pipeline(files["dvc.yaml"])
    files["runtime.txt"] = _runtime(files["runtime.txt"])
    files["requirements.lock"] = _lock()
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
    files[".dvc/config"] = files[".dvc/config"].replace(
        b"headstart-storage", f"{slug}-storage".encode()
    )
    values = {
        "name": name,
        # A tag of Docker: lower case, and a letter or digit first.
        "slug": slug.lower().strip("._-") or "project",
        "version": metadata.version(LIBRARY),
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
    }
    for path, template in _TEMPLATES.items():
        files[path] = _rendered(template, values)
    return dict(sorted(files.items()))


def create(folder: Path) -> Sequence[str]:
    """Write a project into ``folder``, with git and DVC initialized; return the paths written.

    Parameters
    ----------
    folder : Path
        New, empty, or with files that the project does not have.

    Raises
    ------
    HeadstartError
        If git is missing, or a file would be overwritten. Nothing is written then.
    """
    _run(["git", "--version"], Path.cwd())  # before anything is written
    files = project_files(folder.resolve().name)
    taken = [path for path in files if os.path.lexists(folder / path)]
    if (folder / ".dvc").exists() and ".dvc" not in taken:
        taken.append(".dvc")
    if taken:
        shown = ", ".join(taken[:5]) + (f" and {len(taken) - 5} more" if len(taken) > 5 else "")
        raise HeadstartError(
            f"{folder} already has {shown}. Nothing was written. Name a new folder; for a project "
            f"that Headstart made, `headstart init --upgrade {folder}` shows what is new."
        )
    folder.mkdir(parents=True, exist_ok=True)
    nested = bool(_run(["git", "rev-parse", "--show-toplevel"], folder, check=False))
    if not nested:
        _run(["git", "-c", "init.defaultBranch=main", "init", "--quiet"], folder)
    _run(
        [sys.executable, "-m", "dvc", "init", "--quiet", *(["--subdir"] if nested else [])], folder
    )
    for path, content in files.items():
        write_bytes(folder / path, content)
    _record(folder, files)
    return [*files, RECORD]


def changes(folder: Path) -> Sequence[Change]:
    """Return what the installed version would write differently into a project; write nothing.

    Raises
    ------
    HeadstartError
        If the folder holds no project that ``headstart init`` made.
    """
    known = _read_record(folder)
    files = project_files(folder.resolve().name)
    new = {path: text for path, text in files.items() if path not in _OWN}
    found = [
        Change(path, "added", "", _text(files[path]))
        for path in _NEEDED
        if not (folder / path).exists()
    ]
    for path in sorted({*new, *known} - set(_OWN)):
        file = folder / path
        current = file.read_bytes() if file.is_file() else b""
        wanted = new.get(path, b"")
        if current == wanted or sha256_bytes(wanted) == known.get(path):
            continue  # as it should be, or changed by the user alone
        edited = file.is_file() and sha256_bytes(current) != known.get(path)
        old, text = _text(current), _text(wanted)
        kind = "replaced" if current else "added"
        if edited and path == "params.yaml" and (extended := with_missing(old, text)) != old:
            kind, text = "extended", extended
        elif edited:
            kind = "conflict"
        elif path not in new:
            kind = "removed"
        found.append(Change(path, kind, old, text))
    return found


def upgrade(folder: Path, found: Sequence[Change]) -> None:
    """Write the changes that are not conflicts, and record the version."""
    for change in found:
        if change.kind == "removed":
            (folder / change.path).unlink()
        elif change.kind != "conflict":
            write_bytes(folder / change.path, change.new.encode())
    files = project_files(folder.resolve().name)
    _record(folder, files)


def _record(folder: Path, files: Mapping[str, bytes]) -> None:
    hashes = {path: sha256_bytes(content) for path, content in files.items() if path not in _OWN}
    write_json(folder / RECORD, {"version": metadata.version(LIBRARY), "files": hashes})


def _read_record(folder: Path) -> Mapping[str, str]:
    try:
        found: dict[str, str] = json.loads((folder / RECORD).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError):
        raise HeadstartError(
            f"{folder} is not a project that `headstart init` made: {RECORD} is missing or "
            "damaged. Nothing was compared. Create a new project with `headstart init DIRECTORY`."
        ) from None
    return found


def _pipeline(text: bytes) -> bytes:
    """Return dvc.yaml with dependencies on ``runtime.txt`` instead of the library's folders."""
    from ruamel.yaml import YAML

    yaml = YAML(typ="rt")
    yaml.width = 100
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = yaml.load(text)
    for entry in document["stages"].values():
        kept = [dep for dep in entry["deps"] if not _LIBRARY_DEPENDENCY.match(dep)]
        entry["deps"][:] = kept if "runtime.txt" in kept else [*kept, "runtime.txt"]
    target = io.StringIO()
    yaml.dump(document, target)
    body = target.getvalue()
    return (_PIPELINE + body[body.index("stages:") :]).encode()


def _runtime(text: bytes) -> bytes:
    """Return runtime.txt: the installed versions, the library's own first."""
    names = [line.partition("==")[0] for line in text.decode().splitlines() if "==" in line]
    lines = [
        "# The versions that decide the bytes of the outputs. Every stage depends on this file."
    ]
    lines += [f"{name}=={metadata.version(name)}" for name in sorted({LIBRARY, *names})]
    return ("\n".join(lines) + "\n").encode()


def _lock() -> bytes:
    """Return requirements.lock: each installed package that the library needs, with its version."""
    lines = ["# The environment that this project was created in: pip install -r requirements.lock"]
    lines += [f"{name}=={version}" for name, version in sorted(_needed(LIBRARY).items())]
    return ("\n".join(lines) + "\n").encode()


def _needed(name: str) -> Mapping[str, str]:
    """Return the versions of a distribution and of all that it requires and is installed."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    waiting: list[tuple[str, frozenset[str]]] = [(canonicalize_name(name), frozenset())]
    seen: set[tuple[str, frozenset[str]]] = set()
    versions: dict[str, str] = {}
    while waiting:
        entry = waiting.pop()
        if entry in seen:
            continue
        seen.add(entry)
        try:
            found = metadata.distribution(entry[0])
        except metadata.PackageNotFoundError:
            continue
        versions[entry[0]] = found.version
        for line in found.requires or ():
            needed = Requirement(line)
            extras = entry[1] or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": x}) for x in extras):
                waiting.append((canonicalize_name(needed.name), frozenset(needed.extras)))
    return versions


def _rendered(template: str, values: Mapping[str, Any]) -> bytes:
    from jinja2 import Environment, StrictUndefined, select_autoescape

    text = (Path(__file__).resolve().parent / "template" / template).read_text(encoding="utf-8")
    environment = Environment(
        undefined=StrictUndefined, keep_trailing_newline=True, autoescape=select_autoescape(())
    )
    return environment.from_string(text).render(values).encode()


def _run(words: Sequence[str], folder: Path, *, check: bool = True) -> str:
    """Run a command; return its output, "" if it fails and ``check`` is off."""
    try:
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise HeadstartError(
            f"{words[0]} is not installed, and a project needs it: DVC and `headstart reproduce` "
            "work on commits. Nothing was written. Install git, then run this again."
        ) from None
    if done.returncode and check:
        raise HeadstartError(f"`{' '.join(words)}` failed: {(done.stderr or done.stdout).strip()}")
    return "" if done.returncode else done.stdout


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")
