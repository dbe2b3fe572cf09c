"""The files of this repository that a project starts from, found in a checkout and in a wheel.

A wheel holds a copy of them in ``headstart/_shipped``, which ``setup.py`` makes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

#: Patterns below the repository's root, of the files that a wheel carries.
PATTERNS = (
    ".dvc/config",
    ".dvc/plots.html",
    ".dvcignore",
    "data/.gitignore",
    "data/corrections.csv",
    "data/raw/README.md",
    "dvc.yaml",
    "flows/*.py",
    "params.yaml",
    "prefect.toml",
    "prefect.yaml",
    "recipes/*.yaml",
    "runtime.txt",
    "stages/*.py",
)


def root() -> Path:
    """Return the folder that holds the shipped files: of the wheel, or of the checkout."""
    package = Path(__file__).resolve().parent.parent
    copy = package / "_shipped"
    return copy if copy.is_dir() else package.parent


def shipped() -> Iterator[tuple[str, bytes]]:
    """Yield path (relative, with ``/``) and content of every shipped file, sorted by path."""
    top = root()
    found = {path for pattern in PATTERNS for path in top.glob(pattern) if path.is_file()}
    for path in sorted(found):
        yield path.relative_to(top).as_posix(), path.read_bytes()
