"""What the commands over images share: those that could be read, and what is said of the rest."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from headstart.serving.inputs import Listing
    from headstart.serving.models import Floats
    from headstart.serving.prediction import Outcome

#: Exit codes besides those of errors.
SOME_UNREADABLE = 3
NONE_READ = 1
_NAMED = 200  # unreadable files that are named one by one


def listed(words: Sequence[str]) -> Listing:
    """The inputs that the words on the command line mean; ``-`` reads standard input."""
    from headstart.serving.inputs import expand

    # Bytes, because names of files need not be UTF-8.
    lines = (os.fsdecode(line) for line in sys.stdin.buffer) if "-" in words else ()
    return expand(words, lines)


class Reading:
    """Inputs on their way through a model: counted; the unreadable ones named on standard error.

    Attributes
    ----------
    listing : Listing
    read, refused : int
        Inputs so far that could be read, and that could not.
    """

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self.read = self.refused = 0

    def of(
        self, outcomes: Iterable[Outcome], desc: str, *, bar: bool
    ) -> Iterator[tuple[Outcome, Floats]]:
        """Those that could be read, with the model's output; under a bar if one is wanted."""
        from headstart._utils.progress import progress

        total = len(self.listing.inputs)
        with progress(total, desc, "image") if bar else contextlib.nullcontext() as shown:
            for outcome in outcomes:
                if outcome.output is None:
                    self.refused += 1
                    if self.refused <= _NAMED:
                        _tell(f"Not read: {outcome.input.name}: {outcome.fault}")
                else:
                    self.read += 1
                    yield outcome, outcome.output
                if shown is not None:
                    shown.update()

    def end(self, *more: str) -> None:
        """Say what was read and what was not, unless that is all and nothing; then ``more``.

        Raises
        ------
        typer.Exit
            If some inputs, or all of them, could not be read.
        """
        said = []
        if self.refused:
            unnamed = self.refused - _NAMED
            rest = f" ({unnamed:,} of them are not named above)" if unnamed > 0 else ""
            said.append(
                f"Read: {self.read:,} of {len(self.listing.inputs):,} images; not read: "
                f"{self.refused:,}{rest}."
            )
        if self.listing.left_out:
            said.append(
                f"Left out: {self.listing.left_out:,} (hidden, or of the operating system)."
            )
        said += more
        if said:
            typer.echo(" ".join(said), err=True)
        if self.read < len(self.listing.inputs) or not self.listing.inputs:
            raise typer.Exit(SOME_UNREADABLE if self.read else NONE_READ)


def _tell(text: str) -> None:
    """A line on standard error, above the bar if there is one."""
    if sys.stderr.isatty():
        from tqdm import tqdm

        tqdm.write(text, file=sys.stderr)
    else:
        typer.echo(text, err=True)
