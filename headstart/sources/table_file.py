"""Read columns of a CSV or Parquet file as text: bounded, and without guessing types."""

from __future__ import annotations

import codecs
import difflib
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart._utils.errors import SourceError
from headstart._utils.tables import listed
from headstart.sources.parquet_file import (
    MOST_BYTES,
    MOST_ROWS,
    NO_REGRESSION,
    is_parquet,
    parquet_columns,
    read_parquet,
)

if TYPE_CHECKING:
    import pandas as pd

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_CHUNK = 1 << 20


def read_columns(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return the named columns as text, under the names of their roles.

    Parameters
    ----------
    path : Path
    columns : mapping of str to str
        Role to name.

    Raises
    ------
    SourceError
        If the file is not a table, too large, or lacks a column.
    """
    import pandas as pd

    try:
        if is_parquet(path):
            _check_columns(path, columns, parquet_columns(path))
            frame = read_parquet(path, columns)
        else:
            frame = _csv(path, columns)
    except (ValueError, OSError, pd.errors.ParserWarning) as error:
        why = " ".join(str(error).split()).rstrip(".")
        raise SourceError(
            f"{path} cannot be read as a table: {why}. Expected UTF-8 text with a header and "
            "commas (.csv) or tabs (.tsv) between cells, or a Parquet file. Nothing was written. "
            'Save it so (spreadsheets call it "CSV UTF-8"), and run again.'
        ) from error
    if len(frame) > MOST_ROWS:
        raise SourceError(f"{path} has {len(frame):,} rows; at most {MOST_ROWS:,} are read.")
    picked = frame[list(columns.values())]
    picked.columns = pd.Index(list(columns))
    return picked


def _csv(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    import pandas as pd

    if path.stat().st_size > MOST_BYTES:
        raise SourceError(f"{path} has more than {MOST_BYTES:,} bytes, the most that are read.")
    _check_text(path)
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    options: dict[str, Any] = {"sep": separator, "dtype": str, "na_filter": False}
    options |= {"encoding": "utf-8-sig", "index_col": False}
    first = pd.read_csv(path, nrows=1, header=None, **options)
    _check_columns(path, columns, [str(name) for name in first.iloc[0]])
    with warnings.catch_warnings():
        # It would drop cells beyond the last column of the header.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        # One row beyond the limit shows that there are too many; blank lines count, so that the
        # numbers of rows are right.
        frame: pd.DataFrame = pd.read_csv(
            path, nrows=MOST_ROWS + 1, skip_blank_lines=False, **options
        )
    return frame


def _check_text(path: Path) -> None:
    """Refuse bytes that no text has: the parser would drop a NUL with the rest of its cell.

    Raises
    ------
    ValueError
    """
    lines = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            if chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) and not lines:
                raise ValueError("it is UTF-16, and not UTF-8")
            if (place := chunk.find(0)) >= 0:
                line = lines + chunk.count(b"\n", 0, place) + 1
                raise ValueError(f"it holds a NUL byte in line {line:,}, which no text has")
            lines += chunk.count(b"\n")


def check_labels(path: Path, column: str, labels: Sequence[str]) -> None:
    """Refuse labels that are measured numbers.

    Parameters
    ----------
    path : Path
        The table, for the message.
    column : str
        The column, for the message.
    labels : sequence of str
        Of each usable row.

    Raises
    ------
    SourceError
        If all are numbers, some with fractions, and most of them different.
    """
    different = sorted(set(labels))
    if 2 * len(different) <= len(labels) or not all(map(_NUMBER.fullmatch, different)):
        return
    fractions = [label for label in different if not float(label).is_integer()]
    if fractions:
        raise SourceError(
            f"{path}: the column {column!r} holds {len(different):,} different numbers in "
            f"{len(labels):,} rows, as {fractions[0]}. {NO_REGRESSION} Nothing was written."
        )


def _check_columns(path: Path, columns: Mapping[str, str], header: Sequence[str]) -> None:
    repeated = [name for name in dict.fromkeys(columns.values()) if header.count(name) > 1]
    if repeated:
        raise SourceError(
            f"{path} has {header.count(repeated[0])} columns {repeated[0]!r}, so that it is not "
            "clear which one is meant. Nothing was written. Rename them, and run again."
        )
    absent = {role: name for role, name in columns.items() if name not in header}
    if not absent:
        return
    lines = []
    for role, name in absent.items():
        near = difflib.get_close_matches(name, header, n=1)
        hint = f" Did you mean {near[0]!r}?" if near and len(header) > 1 else ""
        lines.append(f"  - `download.{role}_column` is {name!r}.{hint}")
    if len(header) == 1 and (sign := re.search("[;\t|,]", header[0])):
        lines.append(
            f"  - Its cells seem to be divided by {sign[0]!r}. Save it with commas between them, "
            "or with tabs as a .tsv file."
        )
    names = listed([repr(name) for name in header], most=20)
    raise SourceError(
        f"{path} lacks {len(absent)} of the columns. Nothing was written.\n"
        + "\n".join(lines)
        + f"\nIts columns: {names}."
    )
