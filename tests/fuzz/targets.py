"""What a run does with an input of each kind; a rejection is a known error with its reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from headstart._utils.errors import HeadstartError, ImageError
from headstart.archives.archive import open_archive
from headstart.archives.members import ArchiveLimits
from headstart.images.decode import Limits, inspect
from headstart.sources.table_file import check_labels, read_columns
from headstart.stage.parameters import read_params
from tests.images.made import pixels

_ARCHIVE = ArchiveLimits(max_total_bytes=100_000_000)
#: How messages of archives, tables and parameters are told apart.
_REASONS = (
    "cannot be read as a", "not an archive", "whole archive was refused", "packed by method",
    "does not state the encoding", "lacks", "rows", "the column", "not valid YAML",
    "a value that YAML cannot read", "must hold sections", "holds more than", "larger than",
    "not UTF-8",
)  # fmt: skip


def outcome(target: str, content: bytes, folder: Path) -> str:
    """Return ``accepted``, or the reason of the rejection.

    Raises
    ------
    Exception
        Of any other kind: a fault of the program.
    """
    try:
        _TARGETS[target](content, folder)
    except ImageError as error:
        return error.reason
    except HeadstartError as error:
        text = str(error)
        known = next((reason for reason in _REASONS if reason in text), "faults")
        return f"{type(error).__name__}: {known}"
    return "accepted"


def _image(content: bytes, folder: Path) -> None:
    inspect(content, Limits())
    pixels(content, 32)


def _archive(content: bytes, folder: Path) -> None:
    path = folder / "archive"
    path.write_bytes(content)
    archive = open_archive(path, _ARCHIVE)
    for _, got in archive.contents([member.path for member in archive.members]):
        if isinstance(got, ImageError):
            raise got


def _table(content: bytes, folder: Path) -> None:
    path = folder / ("table.parquet" if content.startswith(b"PAR1") else "table.csv")
    path.write_bytes(content)
    frame = read_columns(path, {"path": "file", "label": "label"})
    check_labels(path, "label", list(frame["label"]))


def _parameters(content: bytes, folder: Path) -> None:
    path = folder / "params.yaml"
    path.write_bytes(content)
    read_params(path)


_TARGETS: Mapping[str, Callable[[bytes, Path], None]] = {
    "image": _image,
    "zip": _archive,
    "tar": _archive,
    "table": _table,
    "parameters": _parameters,
}
