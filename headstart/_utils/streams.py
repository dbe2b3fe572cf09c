"""Standard output and error that can print anything, whatever their encoding."""

from __future__ import annotations

import io
import sys


def print_anything() -> None:
    """Print characters that a stream's encoding lacks as escapes, instead of failing.

    With Latin-1, cp1252 or ASCII, a print of ``≤`` would otherwise end a program that has done its
    work.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
