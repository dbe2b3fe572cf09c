"""Handles of TensorFlow Hub modules: an address, a folder, or a .tar.gz."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from headstart._utils.errors import UnfitError

#: ``backbone.name`` and ``backbone.weights`` of a backbone that is a module.
HUB = "hub"
#: The file that makes a folder a module.
GRAPH = "saved_model.pb"
_ARCHIVES = (".tar.gz", ".tgz", ".tar")
_EXPECTED = (
    "an http(s) address of a module, a folder that holds saved_model.pb, or a .tar.gz of one"
)


def is_address(handle: str) -> bool:
    """Whether a handle is fetched, and not read from this machine."""
    return handle.startswith(("http://", "https://"))


def short_name(handle: str) -> str:
    """A handle for people and records: no folder of this machine, no password, no query."""
    if is_address(handle):
        parts = urlsplit(handle)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return Path(handle).absolute().name


def fit_handle(handle: str) -> None:
    """Refuse what can be no module, or is not there.

    Raises
    ------
    UnfitError
        With what a handle is, and the reason.
    """
    if is_address(handle):
        if not urlsplit(handle).netloc:
            raise UnfitError(_EXPECTED, "The address names no host.")
        return
    if "://" in handle:
        raise UnfitError(_EXPECTED, "Fetch it with the tools of its store, and name the folder.")
    path = Path(handle)
    try:
        folder, file = path.is_dir(), path.is_file()
        graph = folder and (path / GRAPH).is_file()
    except OSError:  # a name that no file can have, or a folder that we may not enter
        folder = file = graph = False
    if folder and not graph:
        raise UnfitError(_EXPECTED, f"{path.absolute()} holds no {GRAPH}.")
    if file and not path.name.endswith(_ARCHIVES):
        raise UnfitError(_EXPECTED, "Of other files nothing is loaded.")
    if not folder and not file:
        raise UnfitError(_EXPECTED, f"There is nothing at {path.absolute()}.")
