"""Tables for a terminal: text in columns, safe to print whatever the classes are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headstart._utils.names import without_credentials


def plain(text: str) -> str:
    """Return ``text`` with control characters, which a terminal would obey, as escapes."""
    return text if text.isprintable() else ascii(text)[1:-1]


def spelled(value: Any) -> str:
    """Return a value as YAML spells it, without the credentials of a web address."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else without_credentials(str(value))


def counted(count: int, one: str, many: str = "") -> str:
    """Return a number with its unit: ``1 class``, ``2,000 classes``."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def listed(names: Sequence[str], most: int = 8) -> str:
    """Return the first names, and an ellipsis if there are more."""
    return ", ".join([*names[:most], *(["…"] if len(names) > most else [])])


def columns(rows: Sequence[Sequence[str]], align: str) -> str:
    """Return rows of equally many cells as lines.

    Parameters
    ----------
    rows : sequence of sequences of str
    align : str
        One letter per column: ``l`` or ``r``.
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


def leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return ``{"packages": {"keras": "3"}}`` as ``{"packages.keras": "3"}``; lists are values."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= leaves(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found
