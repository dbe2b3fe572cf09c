"""The extras of headstart: which packages are absent, and the command that installs them."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

#: For contributors, and for the notebook that comes with a clone: no feature of a run.
_OF_A_CLONE = ("dev", "notebook")


def absent_packages() -> dict[str, tuple[str, ...]]:
    """Return every extra for users with the packages of it that are not installed."""
    from packaging.requirements import Requirement

    found = metadata.distribution("headstart")
    extras = set(found.metadata.get_all("Provides-Extra") or ()) - {*_OF_A_CLONE}
    absent: dict[str, list[str]] = {name: [] for name in sorted(extras)}
    for line in found.requires or ():
        needed = Requirement(line)
        if needed.marker is None:
            continue
        for name, packages in absent.items():
            wanted = needed.marker.evaluate({"extra": name})
            if wanted and not needed.marker.evaluate({"extra": ""}) and not _installed(needed.name):
                packages.append(needed.name)
    return {name: tuple(packages) for name, packages in absent.items()}


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def install_command(extra: str) -> str:
    """Return the command that installs an extra: in a clone of Headstart, or beside a wheel."""
    clone = Path(__file__).resolve().parent.parent.parent
    if (clone / "Makefile").is_file() and (clone / "requirements-dev.lock").is_file():
        return f"make -C {clone} dev" if Path.cwd() != clone else "make dev"
    return f'pip install "headstart[{extra}]"'


def needs_extra(what: str, extra: str, absent: str) -> str:
    """Return two sentences: what needs which extra, what is absent, and the command.

    Parameters
    ----------
    what : str
        The subject: "The export format onnx".
    extra : str
        A key of ``project.optional-dependencies`` in pyproject.toml.
    absent : str
        The packages that are not installed.
    """
    return (
        f"{what} needs the extra `{extra}`, of which {absent} is not installed. Install it: "
        f"`{install_command(extra)}`."
    )
