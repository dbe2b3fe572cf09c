"""What the service does not take, and how it says so."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastapi.responses import JSONResponse

from headstart._utils.errors import ImageError

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

_STATUS = {"too_large": 413, "not_an_image": 415, "refused_format": 415}
#: After an answer that came before its request had ended: bytes and seconds to go on reading for.
_LINGER_BYTES = 1 << 30
_LINGER_SECONDS = 10.0
_IDLE_SECONDS = 1.0


class RefusedError(Exception):
    """A request that is answered by an error.

    Parameters
    ----------
    status : int
        Of HTTP, 4xx or 5xx.
    message : str
        For the caller.
    more : mapping, optional
        Further members of the JSON answer.
    retry : bool
        Whether the same request may succeed in a second.
    """

    def __init__(
        self,
        status: int,
        message: str,
        more: Mapping[str, Any] | None = None,
        *,
        retry: bool = False,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.more, self.retry = status, message, more or {}, retry

    def response(self) -> JSONResponse:
        """The answer."""
        headers = {"Retry-After": "1"} if self.retry else {}
        return Lingering({"error": self.message, **self.more}, self.status, headers)


def busy() -> RefusedError:
    """There is no room for now."""
    return RefusedError(503, "Too many images are waiting. Try again in a second.", retry=True)


def status_of(fault: ImageError) -> int:
    """The status that an image's fault has when there is nothing else to answer."""
    return _STATUS.get(fault.reason, 422)


class Lingering(JSONResponse):
    """An answer that may come before the request has been read.

    If the connection were closed with bytes unread, the system would reset it, and the client
    might lose the answer. So it is sent, and what still comes is read and thrown away, a while.
    """

    async def __call__(
        self,
        scope: Scope,  # noqa: ARG002 - as every response
        receive: Receive,
        send: Send,
    ) -> None:
        """Send the answer, then read what is left."""
        # Says that no more is wanted: clients that look for an answer while they send stop here.
        self.headers["Connection"] = "close"
        headers = self.raw_headers
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        await _drain(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _drain(receive: Receive) -> None:
    loop = asyncio.get_running_loop()
    deadline, left = loop.time() + _LINGER_SECONDS, _LINGER_BYTES
    while left > 0 and loop.time() < deadline:
        try:
            message = await asyncio.wait_for(receive(), _IDLE_SECONDS)
        except TimeoutError:
            return
        left -= len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            return
