"""File names of strangers: which of them can be written down, and how to print the others."""

from __future__ import annotations

import unicodedata

NOT_UTF_8 = "the name is not UTF-8"


def name_fault(path: str) -> str | None:
    """Return why a path cannot stand in a text file; None if it can.

    Control characters would break the lines of a CSV file and of a terminal; names that are not
    UTF-8 could not be written to either.
    """
    if any(unicodedata.category(letter) == "Cc" for letter in path):
        return "the name holds control characters"
    try:
        path.encode()
    except UnicodeEncodeError:
        return NOT_UTF_8
    return None


def shown(path: str) -> str:
    """Return a path that is safe to print: control characters and stray bytes as escapes."""
    return "".join(
        letter if unicodedata.category(letter) not in {"Cc", "Cs"} else _escaped(letter)
        for letter in path
    )


def _escaped(letter: str) -> str:
    code = ord(letter)
    # A byte that is not UTF-8 reached us as a surrogate: show the byte.
    return f"\\x{code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else code:02x}"
