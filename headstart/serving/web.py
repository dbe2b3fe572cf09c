"""One image from an address: bounded in bytes and in time, and not kept."""

from __future__ import annotations

import time
from dataclasses import dataclass

import requests
import urllib3

from headstart._utils.errors import ImageError
from headstart._utils.tables import plain
from headstart.downloads.client import innermost

_CHUNK = 1 << 16
_REDIRECTS = 5
_LONGEST = 300  # letters of what a server says that are told


@dataclass(frozen=True)
class Patience:
    """Seconds to wait: for a connection, for the next bytes, for everything."""

    connect: float = 10.0
    read: float = 20.0
    total: float = 60.0


def fetch(url: str, max_bytes: int, patience: Patience | None = None) -> bytes:
    """The body that an address answers with.

    Raises
    ------
    ImageError
        ``unreachable``, with what the server or the network said; ``too_large``.
    """
    patience = patience or Patience()
    try:
        with requests.Session() as session:
            session.max_redirects = _REDIRECTS
            with session.get(
                url,
                stream=True,
                timeout=(patience.connect, patience.read),
                headers={"Accept-Encoding": "identity", "User-Agent": "headstart"},
            ) as answer:
                return _body(answer, max_bytes, time.monotonic() + patience.total)
    except requests.TooManyRedirects as error:
        detail = f"it leads from redirect to redirect, more than {_REDIRECTS} times"
        raise ImageError("unreachable", detail) from error
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise ImageError("unreachable", _told(innermost(error))) from error


def _body(answer: requests.Response, max_bytes: int, deadline: float) -> bytes:
    if answer.status_code != 200:
        raise ImageError(
            "unreachable", f"the server answered {answer.status_code} {_told(answer.reason)}"
        )
    length = answer.headers.get("Content-Length", "")
    if length.isdigit() and int(length) > max_bytes:
        raise ImageError("too_large", f"{int(length):,} bytes; at most {max_bytes:,}")
    parts: list[bytes] = []
    got = 0
    # Undecoded: a body that unpacks to a thousand times its size must not be unpacked.
    while chunk := answer.raw.read1(_CHUNK, decode_content=False):
        parts.append(chunk)
        got += len(chunk)
        if got > max_bytes:
            raise ImageError("too_large", f"more than {max_bytes:,} bytes")
        if time.monotonic() > deadline:
            raise ImageError("unreachable", f"it took too long; {got:,} bytes had come")
    if length.isdigit() and got < int(length):
        raise ImageError("truncated", f"the connection ended after {got:,} of {length} bytes")
    return b"".join(parts)


def _told(text: str) -> str:
    """What a server said, bounded, and without anything that a terminal would obey."""
    return plain(text[:_LONGEST])
