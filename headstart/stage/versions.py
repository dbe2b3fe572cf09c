"""runtime.txt: the package versions that decide the bytes of the outputs.

The stages that compute depend on it, so that a new TensorFlow re-runs them and a new plotting
library does not. It is generated from requirements.lock.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from headstart._utils.errors import HeadstartError


def read(path: Path) -> dict[str, str]:
    """Return the version of each package that the file names."""
    return parse(path.read_text(encoding="utf-8"))


def parse(text: str) -> dict[str, str]:
    """Parse lines ``name==version`` into a mapping; ``#`` starts a comment."""
    found = {}
    for line in text.splitlines():
        content = line.split("#", 1)[0].strip()
        if content:
            name, _, version = content.partition("==")
            found[name.strip()] = version.strip()
    return found


def check(path: Path) -> None:
    """Compare the installed packages with the file.

    Raises
    ------
    HeadstartError
        Naming every package that differs.
    """
    if not path.exists():
        raise HeadstartError(
            f"There is no {path}. `git checkout {path}` restores it; in the repository of "
            "Headstart, `make runtime` writes it from requirements.lock."
        )
    wrong = []
    for name, wanted in read(path).items():
        try:
            got = metadata.version(name)
        except metadata.PackageNotFoundError:
            got = "nothing"
        if got != wanted:
            wrong.append(f"  - {name}: {wanted} expected, {got} installed")
    if wrong:
        raise HeadstartError(
            f"The installed packages are not those of {path.name}, so the result would not "
            "be this commit's. Nothing was run.\n" + "\n".join(wrong) + "\n"
            "In the repository of Headstart, `make env` installs the locked versions, and `make "
            "lock runtime` adopts those that pyproject.toml allows. In a project, `pip install -r "
            "requirements.lock` and `headstart init --upgrade . --apply` do the same."
        )
