"""Errors that are meant to be read by people.

Anything raised as a :class:`HeadstartError` reaches the terminal as its message alone, without a
traceback: it says what happened, what was expected, what was got, what was done and what to do
next. Every other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydantic import ValidationError


#: Entries of a folder among which a project is looked for.
_MOST_LOOKED_AT = 1000
#: In a project that `headstart init` made: which file came from which version.
RECORD = ".dvc/headstart.json"


class HeadstartError(Exception):
    """A failure with a message for the person at the terminal."""

    exit_code = 1


class ParameterError(HeadstartError):
    """A value in the parameter file is unknown, missing, mistyped or out of range."""

    exit_code = 2


class WiringError(HeadstartError):
    """A stage's command, its ``main`` and params.yaml do not fit together."""

    exit_code = 2


class UnfitError(ValueError):
    """A value of the right type that is not allowed, or not together with other values.

    Raised by the validators of a section; :mod:`headstart.stage.parameters` makes a sentence of it.

    Parameters
    ----------
    expected : str
        Continues "The … parameter must be".
    hint : str
        Sentences that follow "Got … instead."; "" for none.
    """

    def __init__(self, expected: str, hint: str = "") -> None:
        super().__init__(f"must be {expected}. {hint}".rstrip())
        self.expected = expected
        self.hint = hint

    def sentence(self, name: str, got: str) -> str:
        """Return the complete sentence, without the place in a file."""
        sentence = f"The `{name}` parameter must be {self.expected}. Got {got} instead."
        return f"{sentence} {self.hint}" if self.hint else sentence


class DivergedError(HeadstartError):
    """A training left the range in which numbers mean something: its learning rate is too high."""


class InputChangedError(HeadstartError):
    """An input of a stage was changed while the stage ran."""


class CorruptFileError(HeadstartError):
    """A file that we wrote does not match its own record."""


class SourceError(HeadstartError):
    """The images could not be obtained, because of a download, an archive or a folder."""


class UnsafeArchiveError(SourceError):
    """An archive contains something that must never be written or read."""


class ImageError(HeadstartError):
    """A file is not a usable image. ``reason`` is a short stable slug, ``detail`` a sentence.

    The reasons are listed in :mod:`headstart.images.decode`.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str]]:
        """Return how it is made again in another process."""
        return ImageError, (self.reason, self.detail)


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those behind it, to the innermost."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def not_a_project(folder: Path, missing: str) -> HeadstartError:
    """Return the error that every command gives in a folder that is not a project."""
    near = near_project(folder)
    where = "a project's folder" if near is None else f"{near}, which is one"
    return HeadstartError(
        f"{folder} is not a Headstart project: there is no {missing}. Nothing was run. "
        f"Change to {where}, or create a project with `headstart init my-project`."
    )


def upgrade_hint(folder: Path) -> str:
    """Return how an older project gets what the installed version needs, as a sentence."""
    if (folder / RECORD).is_file():
        return (
            "If an older version made the project, `headstart init --upgrade . --apply` adds "
            "what is new, and keeps your values."
        )
    return (
        "If it comes from an older version, `headstart init DIRECTORY` writes a project of the "
        "installed one, to compare with."
    )


def near_project(folder: Path) -> Path | None:
    """Return the project that a folder lies in, or the only one directly below it."""
    folder = folder.absolute()
    try:
        below = [path for path in islice(folder.iterdir(), _MOST_LOOKED_AT) if _is_project(path)]
    except OSError:
        below = []
    found = next(filter(_is_project, folder.parents), None)
    return found or (below[0] if len(below) == 1 else None)


def _is_project(folder: Path) -> bool:
    try:
        return all((folder / name).is_file() for name in ("dvc.yaml", "params.yaml"))
    except OSError:
        return False


def faults_text(error: ValidationError) -> str:
    """Return the first five faults that pydantic found, each with its place in the record."""
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or 'the record'}: {fault['msg']}"
        for fault in error.errors()[:5]
    )
