"""Tables for a terminal: plain text in columns, safe to print whatever a stranger named a class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def plain(text: str) -> str:
    """``text`` without anything that a terminal would obey: such characters as escapes."""
    return text if text.isprintable() else ascii(text)[1:-1]


def spelled(value: Any) -> str:
    """A value as YAML spells it, where Python has another word."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def columns(rows: Sequence[Sequence[str]], align: str) -> str:
    """Rows of equally many cells as lines.

    Parameters
    ----------
    rows : sequence of sequences of str
    align : str
        One letter a column: ``l`` or ``r``.
    """
    shown = [[plain(cell) for cell in row] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(*shown, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if side == "r" else cell.ljust(width)
            for cell, width, side in zip(row, widths, align, strict=True)
        ).rstrip()
        for row in shown
    )
