"""Untrusted names: refuse those that no text file can hold, print any of them, hide secrets."""

from __future__ import annotations

import difflib
import hashlib
import re
import unicodedata
from collections.abc import Iterable

NOT_UTF_8 = "the name is not UTF-8"
#: User and password of an address; and a part of its query that is named like a secret.
_USER = re.compile(r"(?<=://)[^/\s?#]*@")
_SECRET = re.compile(
    r"(?<=[?&;])((?:[\w.-]*(?:token|signature|secret|passw|api[-_]?key|credential|auth)[\w.-]*"
    r"|key|sig|pwd)=)([^&;#\s'\"]+)",
    re.IGNORECASE,
)


#: Bidirectional classes of characters that reverse the text up to their end (Unicode, UAX 9).
_TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def name_fault(path: str) -> str | None:
    """Return the reason why a path cannot be written to a text file; None if it can.

    Control characters would break the lines of a CSV file and of a terminal, and those of the
    direction would make a name read as another; names that are not UTF-8 could not be written to
    either.
    """
    if path.isascii() and path.isprintable():  # nearly all of a million names
        return None
    if any(_controls(letter) for letter in path):
        return "the name holds control characters"
    try:
        path.encode()
    except UnicodeEncodeError:
        return NOT_UTF_8
    return None


def _controls(letter: str) -> bool:
    return unicodedata.category(letter) == "Cc" or unicodedata.bidirectional(letter) in _TURNING


def shown(path: str) -> str:
    """Return a path that is safe to print: control characters and stray bytes as escapes."""
    return "".join(
        _escaped(letter) if _controls(letter) or unicodedata.category(letter) == "Cs" else letter
        for letter in path
    )


def without_credentials(text: str) -> str:
    """Return a text whose web addresses show no user, password, token or signature.

    A secret in a query becomes a part of its SHA-256, so that two addresses stay two.
    """
    hidden = _USER.sub("…@", text)
    return _SECRET.sub(lambda match: f"{match[1]}…{_digest(match[2])}", hidden)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _escaped(letter: str) -> str:
    code = ord(letter)
    # A byte that is not UTF-8 reached us as a surrogate: show the byte.
    if unicodedata.category(letter) == "Cf":
        return f"\\u{code:04x}"
    return f"\\x{code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else code:02x}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question with the nearest known name, after a space; "" if none is near."""
    options = list(known)
    near = difflib.get_close_matches(name, options, n=1)
    return f" Did you mean `{near[0]}`?" if near and name not in options else ""
