"""Values in DVC's settings files, where ``#`` begins a comment and ``,`` makes a list."""

from __future__ import annotations

_QUOTES = ('"', "'", '"""', "'''")


def quoted(value: str) -> str:
    """A value that is read as it is, whatever stands in it."""
    sign = next(sign for sign in _QUOTES if sign not in value)
    return f"{sign}{value}{sign}"


def plain(written: str) -> str:
    """The value of what stands in a file, in quotes or not."""
    for sign in reversed(_QUOTES):  # the long ones begin like the short ones
        if len(written) >= 2 * len(sign) and written.startswith(sign) and written.endswith(sign):
            return written[len(sign) : -len(sign)]
    return written
