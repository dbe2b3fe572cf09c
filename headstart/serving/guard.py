"""Access to the service: for programs, and for the pages that it served itself.

Every web page that the user visits can reach a service on a loopback address. Two checks refuse
those pages: the ``Host`` must be a name of this machine (a page whose domain was pointed to
127.0.0.1 sends its own domain), and requests that compute something must not come from a page of
another origin (browsers send ``Origin`` and ``Sec-Fetch-Site``; programs send neither).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders

from headstart.serving.requests import RefusedError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_ASKS = frozenset({"GET", "HEAD"})


class Guard:
    """Middleware that refuses requests (421, 403) and adds a strict policy to every answer.

    Parameters
    ----------
    app : ASGI application
    hosts : iterable of str
        Names in addition to localhost, this machine's own and all IP addresses; ``*``: any.
    origins : iterable of str
        Origins of other pages that may ask, such as ``https://example.org``.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str], origins: Iterable[str]) -> None:
        self.app = app
        self.hosts = {"localhost", *_own_names(), *(host.lower() for host in hosts)}
        self.origins = set(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        fault = self._fault(scope["method"], Headers(scope=scope))

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if not self.origins:
                    headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
            await send(message)

        await (fault.response() if fault else self.app)(scope, receive, guarded)

    def _fault(self, method: str, headers: Headers) -> RefusedError | None:
        host = headers.get("host", "")
        if not self._is_known(host):
            return RefusedError(
                421,
                f"This service is not known as {host[:100]!r}. To allow that name, start it with "
                "--allow-host NAME.",
            )
        if method in _ASKS:  # No page of another origin can read the answer.
            return None
        origin = headers.get("origin")
        foreign = headers.get("sec-fetch-site") in {"cross-site", "same-site"}
        if origin in self.origins:
            return None
        if foreign or (origin is not None and not _same(origin, host)):
            return RefusedError(
                403,
                f"Pages of {str(origin)[:100]!r} may not use this service. To allow them, start "
                "it with --allow-origin ORIGIN.",
            )
        return None

    def _is_known(self, host: str) -> bool:
        name = _name(host)
        return "*" in self.hosts or name in self.hosts or _is_address(name)


def _name(host: str) -> str:
    """Return the name in a ``Host`` header, without the port."""
    if host.startswith("["):
        return host[1:].split("]", maxsplit=1)[0].lower()
    return host.rsplit(":", 1)[0].lower().rstrip(".")


def _is_address(name: str) -> bool:
    # A domain can be pointed to another machine; an address cannot.
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _same(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:  # Such as `http://[`, which no browser sends.
        return False
    return parts.scheme in {"http", "https"} and parts.netloc.lower() == host.lower()


def _own_names() -> set[str]:
    name = socket.gethostname().lower()
    return {name, name.split(".")[0], f"{name.split('.')[0]}.local"} - {""}
