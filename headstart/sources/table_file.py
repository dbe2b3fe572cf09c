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
from headstart._utils.extras import needs_extra
from headstart._utils.tables import listed

if TYPE_CHECKING:
    import pandas as pd

#: Why some labels are refused, and what to do.
NO_REGRESSION = (
    "Headstart distinguishes classes and does not predict numbers. If the numbers stand for "
    "classes, write them as integers; otherwise divide them into ranges, in a separate column."
)
NO_MULTI_LABEL = (
    "Headstart gives each image one class, and none has several. Keep the label that matters, or "
    "train one model for each label (with and without it)."
)
EMBEDDED_IMAGES = (
    "It holds the images themselves, as Hugging Face stores them. The code in docs/sources.md "
    'under "Images inside of a Parquet file" writes them into a folder per class, for '
    "`download.source: folder`."
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_MOST_ROWS = 2_000_000
_CHUNK = 1 << 20
_MOST_BYTES = 1 << 30  # of a table, packed and unpacked


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
    if path.stat().st_size > _MOST_BYTES:
        raise SourceError(f"{path} has more than {_MOST_BYTES:,} bytes, the most that are read.")
    import pandas as pd

    try:
        parquet = path.suffix.lower() == ".parquet"
        frame = _parquet(path, columns) if parquet else _csv(path, columns)
    except (ValueError, OSError, pd.errors.ParserWarning) as error:
        why = " ".join(str(error).split()).rstrip(".")
        raise SourceError(
            f"{path} cannot be read as a table: {why}. Expected UTF-8 text with a header and "
            "commas (.csv) or tabs (.tsv) between cells, or a Parquet file. Nothing was written. "
            'Save it so (spreadsheets call it "CSV UTF-8"), and run again.'
        ) from error
    if len(frame) > _MOST_ROWS:
        raise SourceError(f"{path} has {len(frame):,} rows; at most {_MOST_ROWS:,} are read.")
    picked = frame[list(columns.values())]
    picked.columns = pd.Index(list(columns))
    return picked


def _csv(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    import pandas as pd

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
            path, nrows=_MOST_ROWS + 1, skip_blank_lines=False, **options
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


def _parquet(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    import pandas as pd

    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise SourceError(
            needs_extra(f"The Parquet file {path}", "parquet", "pyarrow")
            + " Or write the table as CSV. Nothing was written."
        ) from error
    try:
        file = parquet.ParquetFile(path)
        _check_columns(path, columns, list(file.schema_arrow.names))
        groups = (file.metadata.row_group(number) for number in range(file.metadata.num_row_groups))
        unpacked = sum(group.total_byte_size for group in groups)
        if file.metadata.num_rows > _MOST_ROWS or unpacked > _MOST_BYTES:
            raise SourceError(
                f"{path} has {file.metadata.num_rows:,} rows that unpack to {unpacked:,} bytes; at "
                f"most {_MOST_ROWS:,} and {_MOST_BYTES:,} are read."
            )
        wanted = list(dict.fromkeys(columns.values()))
        table = file.read(columns=wanted)
    except pa.ArrowException as error:
        raise ValueError(error) from error
    _check_kinds(path, table.schema, pa.types, columns.get("label", ""))
    plain = {
        name: ["" if cell is None else str(cell) for cell in table.column(name).to_pylist()]
        for name in wanted
    }
    return pd.DataFrame(plain, dtype="str")


def _check_kinds(path: Path, schema: Any, types: Any, label: str) -> None:
    """Refuse numbers with fractions, dates and the like: they have no unique text."""
    for field in schema:
        kind = field.type.value_type if types.is_dictionary(field.type) else field.type
        tests = (types.is_string, types.is_large_string, types.is_integer, types.is_null)
        if any(test(kind) for test in tests):
            continue
        why = ""
        if field.name == label and types.is_floating(kind):
            why = f" {NO_REGRESSION}"
        elif field.name == label and (types.is_list(kind) or types.is_large_list(kind)):
            why = f" {NO_MULTI_LABEL}"
        elif types.is_binary(kind) or types.is_large_binary(kind) or _holds_bytes(kind, types):
            why = f" {EMBEDDED_IMAGES}"
        raise SourceError(
            f"{path}: the column {field.name!r} holds {field.type}; text or integers are read."
            f"{why} Nothing was written."
        )


def _holds_bytes(kind: Any, types: Any) -> bool:
    return bool(types.is_struct(kind)) and any(field.name == "bytes" for field in kind)


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
