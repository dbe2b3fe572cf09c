"""CSV with a fixed list of columns, where text is text: "NA" is a name like any other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from headstart._utils.errors import CorruptFileError


def read_table(path: Path, columns: Mapping[str, str], what: str, mend: str = "") -> pd.DataFrame:
    """Read a table whose columns and dtypes are known.

    Parameters
    ----------
    path : Path
    columns : mapping of str to str
        Column to dtype, in the order of the file.
    what : str
        What the file should be, for the message: "a manifest".
    mend : str
        What to do about a damaged file, as a sentence; may be empty.

    Raises
    ------
    CorruptFileError
        If it cannot be read, or has other columns.
    """
    then = f" {mend}" if mend else ""
    try:
        table = pd.read_csv(
            path,
            dtype=dict(columns),
            keep_default_na=False,
            na_filter=False,
            encoding="utf-8",
            lineterminator="\n",
        )
    except (ValueError, OSError) as error:
        raise CorruptFileError(f"{path} cannot be read as {what}: {error}.{then}") from error
    if list(table.columns) != list(columns):
        raise CorruptFileError(
            f"{path}: expected the columns {', '.join(columns)}; "
            f"got {', '.join(table.columns)}.{then}"
        )
    return table
