"""Results of a model: the most likely classes of an image, as text; features, as files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from headstart._utils.csv_text import neutral
from headstart._utils.errors import HeadstartError
from headstart._utils.files import atomic_file
from headstart._utils.tables import plain
from headstart.evaluation.metrics import percent
from headstart.serving.inputs import Input

Floats = npt.NDArray[np.float32]
Format = Literal["table", "jsonl", "csv"]
Write = Callable[[Input, "Answer"], str]
Add = Callable[[str, Floats], None]

#: Shown by a table instead of a class that does not reach the threshold.
UNSURE = "unsure"
_WIDEST = 60  # letters of the column of files; longer names push the others aside
_FEATURE_COLUMNS = ["row", "file"]


@dataclass(frozen=True, slots=True)
class Guess:
    """A class and its probability; ``synset`` is WordNet's number of one of ImageNet's classes."""

    label: str
    probability: float
    synset: str = ""

    def record(self) -> dict[str, Any]:
        """Return the guess as JSON and CSV show it."""
        synset = {"synset": self.synset} if self.synset else {}
        return {"label": self.label, "probability": self.probability, **synset}


@dataclass(frozen=True, slots=True)
class Answer:
    """The classification of an image.

    Attributes
    ----------
    guesses : tuple of Guess
        The most likely classes, the first one first.
    sure : bool
        The first one reaches the threshold.
    """

    guesses: tuple[Guess, ...]
    sure: bool

    @property
    def label(self) -> str | None:
        """The most likely class; None if it does not reach the threshold."""
        return self.guesses[0].label if self.sure else None

    @property
    def probability(self) -> float:
        """The probability of the most likely class."""
        return self.guesses[0].probability

    def record(self) -> dict[str, Any]:
        """Return the first guess, and all of them as ``top``, as JSON shows them."""
        top = [guess.record() for guess in self.guesses]
        return {**top[0], "label": self.label, "top": top}


def answer(
    row: Floats,
    classes: Sequence[str],
    top: int,
    threshold: float = 0.0,
    synsets: Sequence[str] = (),
) -> Answer:
    """Return the ``top`` most likely classes; of equal ones, the first by position.

    Parameters
    ----------
    row : ndarray of shape (n_classes,), float32
        Probabilities.
    classes : sequence of str
    top : int
        At least 1; more than there are classes: all.
    threshold : float
        The least probability of an accepted first guess.
    synsets : sequence of str
        WordNet's numbers of the classes, if they have any.
    """
    order = np.argsort(-row, kind="stable")[:top]
    guesses = tuple(
        Guess(classes[place], shortest(row[place]), synsets[place] if synsets else "")
        for place in map(int, order)
    )
    return Answer(guesses, bool(row[order[0]] >= np.float32(threshold)))


def shortest(value: np.float32) -> float:
    """Return the double whose text is the shortest that reads back as this float32."""
    return float(str(value))


def writer(
    output: Format, inputs: Sequence[Input], classes: Sequence[str], top: int, *, synsets: bool
) -> tuple[str, Write]:
    """Return the first line ("" for none) and a function that makes the lines of an answer.

    Lines come without their end. All inputs are known beforehand, so that a table's columns are as
    wide as they need to be although its lines are written one by one.

    Parameters
    ----------
    output : "table", "jsonl" or "csv"
    inputs : sequence of Input
    classes : sequence of str
    top : int
        Guesses per answer.
    synsets : bool
        The classes are ImageNet's. JSON lines and CSV show their numbers as well, because
        two names are shared by two classes each; a table shows one line per guess.
    """
    top = min(top, len(classes))
    if output == "jsonl":
        return "", _json
    if output == "csv":
        names = ("label", "probability", *(["synset"] if synsets else []))
        ranks = ["", *(f"_{rank}" for rank in range(2, top + 1))]
        return _csv_row(["file", *(f"{name}{rank}" for rank in ranks for name in names)]), _csv
    return _table(inputs, classes, top, synsets)


def _json(one: Input, found: Answer) -> str:
    return json.dumps({"file": one.name, **found.record()}, ensure_ascii=False)


def _csv(one: Input, found: Answer) -> str:
    first, *others = (guess.record() for guess in found.guesses)
    records = [{**first, "label": found.label}, *others]
    return _csv_row([one.name, *(cell for record in records for cell in record.values())])


def _csv_row(cells: Sequence[str | float | None]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(
        [neutral(cell) if isinstance(cell, str) else cell for cell in cells]
    )
    return text.getvalue()


def _table(
    inputs: Sequence[Input], classes: Sequence[str], top: int, synsets: bool
) -> tuple[str, Write]:
    longest = max((len(plain(one.name)) for one in inputs), default=0)
    widths = max(min(longest, _WIDEST), len("file")), max(map(len, map(plain, [*classes, UNSURE])))

    def line(file: str, label: str, probability: str, *more: str) -> str:
        cells = f"{file:<{widths[0]}}  {label:<{widths[1]}}  {probability:>11}"
        return "  ".join([cells, *more]).rstrip()

    def in_one_line(one: Input, found: Answer) -> str:
        label = UNSURE if found.label is None else plain(found.label)
        # For an unsure image, the most likely class is listed as well.
        others = found.guesses[1:] if found.sure else found.guesses
        more = [f"{plain(guess.label)} {percent(guess.probability)}" for guess in others]
        return line(plain(one.name), label, percent(found.probability), *more)

    def in_lines(one: Input, found: Answer) -> str:
        # The names of ImageNet are long: five in one line would be wider than any terminal.
        files = [plain(one.name), *[""] * (len(found.guesses) - 1)]
        return "\n".join(
            line(file, spoken(guess.label), percent(guess.probability))
            for file, guess in zip(files, found.guesses, strict=True)
        )

    more = ["then"] if top > 1 and not synsets else []
    return line("file", "class", "probability", *more), in_lines if synsets else in_one_line


def spoken(name: str) -> str:
    """Return a name of ImageNet for people: ``tiger cat``."""
    return name.replace("_", " ")


def names_beside(path: Path) -> Path:
    """Return the path of the CSV that names the rows of a feature file."""
    return path.with_suffix(".csv")


def check_place(path: Path) -> None:
    """Refuse a path of a feature file that cannot be written, before anything is computed.

    Files that Headstart wrote may be replaced. A CSV of the same name with other content, such as a
    list of labels, was not named by the user and is never replaced.

    Parameters
    ----------
    path : Path
        The future ``.npy`` file.

    Raises
    ------
    HeadstartError
        If a folder is in the way, or another CSV.
    """
    names = names_beside(path)
    for one in (path, names):
        if one.is_dir():
            raise HeadstartError(
                f"{one} is a folder, and a file of that name would be written. Nothing was read. "
                "Name another --output."
            )
    if not names.exists():
        return
    head = f"{','.join(_FEATURE_COLUMNS)}\n".encode()
    with names.open("rb") as file:
        ours = file.read(len(head)) == head
    if not ours:
        raise HeadstartError(
            f"{names} exists and does not name rows of features: such a file begins with "
            f"{','.join(_FEATURE_COLUMNS)!r}. It would have been overwritten. Nothing was read. "
            "Name another --output, or move the file."
        )


@contextmanager
def feature_file(path: Path, shape: Sequence[int]) -> Iterator[Add]:
    """Yield a function that adds a row; both files exist when the block ends, or neither.

    Rows are written one by one, so memory holds none of them.

    Parameters
    ----------
    path : Path
        A ``.npy`` file: float32 of shape (rows, *shape).
    shape : sequence of int
        Shape of one row.
    """
    rows = 0
    # The CSV is moved into place first, so that it exists when the array does.
    with atomic_file(path) as array, atomic_file(names_beside(path)) as names:
        text = io.TextIOWrapper(names, encoding="utf-8", newline="", write_through=True)
        table = csv.writer(text, lineterminator="\n")
        table.writerow(_FEATURE_COLUMNS)
        array.write(_header(0, shape))

        def add(name: str, row: Floats) -> None:
            nonlocal rows
            array.write(np.asarray(row, "<f4").reshape(shape).tobytes())
            table.writerow([rows, neutral(name)])
            rows += 1

        yield add
        text.detach()
        # NumPy pads the header for appended rows: it has the same length for any number of them.
        array.seek(0)
        array.write(_header(rows, shape))


def _header(rows: int, shape: Sequence[int]) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (rows, *shape)}
    )
    return header.getvalue()
