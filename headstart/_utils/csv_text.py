"""CSV text whose cells no spreadsheet runs: such a cell gets an apostrophe, which readers remove.

Names of files and classes are untrusted. A spreadsheet takes a cell that begins with one of
:data:`_STARTS` for a formula, whether it is quoted or not.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

#: The last four are the full-width forms, which some spreadsheets read as the ASCII ones.
_STARTS = "=+\\-@\t\r\n＝＋－＠"
#: A cell that is marked already gets one more apostrophe, so that every text reads back unchanged.
_RUNS = re.compile(f"'*[{_STARTS}]")


def neutral(text: str) -> str:
    """Return the text of a cell, with an apostrophe before it if a spreadsheet would run it."""
    return f"'{text}" if _RUNS.match(text) else text


def original(cell: str) -> str:
    """Return the text that :func:`neutral` made a cell of."""
    return cell[1:] if cell.startswith("'") and _RUNS.match(cell) else cell


def csv_text(table: Any) -> str:
    """Return a data frame as canonical CSV without its index; its text is neutral."""
    return neutral_csv(neutral_table(table))


def neutral_table(table: Any) -> Any:
    """Return a data frame whose text is neutral: once for all the parts that it is written in."""
    return table.assign(**{name: _mapped(table[name], neutral) for name in _text_columns(table)})


def neutral_csv(table: Any) -> str:
    """Return a data frame that :func:`neutral_table` made, or rows of it, as canonical CSV."""
    return str(table.to_csv(index=False, lineterminator="\n"))


def restored(table: Any) -> Any:
    """Return a data frame that was read from :func:`csv_text` with its original text."""
    return table.assign(**{name: _mapped(table[name], original) for name in _text_columns(table)})


def _mapped(column: Any, change: Callable[[str], str]) -> Any:
    """Return a column of text with its cells changed. Few need it; the others stay as they are."""
    found = column.str.match(_RUNS.pattern).to_numpy(bool)
    if not found.any():
        return column
    cells = column.to_numpy(object)
    cells[found] = [change(cell) for cell in cells[found]]
    return type(column)(cells, index=column.index, name=column.name, dtype="str")


def _text_columns(table: Any) -> list[str]:
    return [str(name) for name, dtype in table.dtypes.items() if dtype == "str"]
