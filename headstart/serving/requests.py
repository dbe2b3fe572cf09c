"""Requests of the service: bodies read under limits, and the errors that refuse them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from headstart._utils.errors import ImageError

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

_STATUS = {"too_large": 413, "not_an_image": 415, "refused_format": 415}
#: Bytes and seconds to keep reading after an answer that came before the end of its request.
_LINGER_BYTES = 1 << 30
_LINGER_SECONDS = 10.0
_IDLE_SECONDS = 1.0


class RefusedError(Exception):
    """A request that is answered with an error.

    Parameters
    ----------
    status : int
        HTTP status, 4xx or 5xx.
    message : str
        For the caller.
    more : mapping, optional
        Further members of the JSON answer.
    retry : bool
        The same request may succeed in a second.
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
        """Return the answer."""
        headers = {"Retry-After": "1"} if self.retry else {}
        return Lingering({"error": self.message, **self.more}, self.status, headers)


def busy() -> RefusedError:
    """Return the refusal of a request that finds no room."""
    return RefusedError(503, "Too many images are waiting. Try again in a second.", retry=True)


def status_of(fault: ImageError) -> int:
    """Return the status of an image's fault if there is nothing else to answer."""
    return _STATUS.get(fault.reason, 422)


class Lingering(JSONResponse):
    """An answer that may be sent before the request has been read.

    If the connection were closed with bytes unread, the system would reset it, and the client might
    lose the answer. So the answer is sent, and the rest of the request is read and discarded for a
    while.
    """

    async def __call__(
        self,
        scope: Scope,  # noqa: ARG002 - as every response
        receive: Receive,
        send: Send,
    ) -> None:
        """Send the answer, then read the rest."""
        # Clients that look for an answer while they send stop here.
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


_SECONDS = 60.0  # until a body has arrived


@dataclass(frozen=True)
class Upload:
    """A file of a request; ``name`` is the client's, None for a bare body."""

    name: str | None
    content: bytes


class Bodies:
    """Read bodies under limits.

    Parameters
    ----------
    max_body : int
        Bytes of one request.
    max_held : int
        Bytes of all requests in progress.
    seconds : float
        Seconds until a body must have arrived.
    """

    def __init__(self, max_body: int, max_held: int, seconds: float = _SECONDS) -> None:
        self.max_body, self.max_held, self.seconds = max_body, max(max_held, max_body), seconds
        self.held = 0

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """Yield the chunks of a body; they count as held until the block ends.

        Raises
        ------
        RefusedError
            413 as soon as it is known; 408; 503 while other requests use all the room.
        """
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > self.max_body:
            raise self._too_large(f"{int(length):,}")
        got = 0

        async def chunks() -> AsyncGenerator[bytes, None]:
            nonlocal got
            async for chunk in self._timely(request):
                got += len(chunk)
                self.held += len(chunk)
                if got > self.max_body:
                    raise self._too_large(f"more than {self.max_body:,}")
                if self.held > self.max_held:
                    raise busy()
                yield chunk

        generator = chunks()
        try:
            yield generator
        finally:
            await generator.aclose()
            self.held -= got

    async def _timely(self, request: Request) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.seconds
        stream = aiter(request.stream())
        while True:
            try:
                yield await asyncio.wait_for(anext(stream), deadline - loop.time())
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise RefusedError(
                    408, f"The body did not arrive within {self.seconds:g} seconds."
                ) from None

    def _too_large(self, size: str) -> RefusedError:
        return RefusedError(
            413, f"The body has {size} bytes; at most {self.max_body:,} are accepted (--max-body)."
        )


async def files(
    request: Request, stream: AsyncGenerator[bytes, None], max_files: int
) -> list[Upload]:
    """Return the files of a multipart body, under any field names.

    Raises
    ------
    RefusedError
        400 if it is malformed, 413 if there are too many files, 422 if there is none.
    """
    # One more than accepted, so that the refusal is ours. Parts that are not files are small.
    parser = MultiPartParser(
        request.headers, stream, max_files=max_files + 1, max_fields=16, max_part_size=1 << 16
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise RefusedError(400, f"The multipart body cannot be read: {error.message}") from None
    except UnicodeError as error:  # The client names an encoding, which may be any of Python's.
        raise RefusedError(400, f"The multipart body cannot be read: {error}.") from None
    try:
        parts = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
        if not parts:
            raise RefusedError(422, "The multipart body holds no file. Send one part per image.")
        if len(parts) > max_files:
            raise too_many(f"more than {max_files}", max_files)
        return [Upload(_valid(part.filename), await part.read()) for part in parts]
    finally:
        await form.close()


def _valid(name: str | None) -> str | None:
    """Return a name that UTF-8 can encode: the client's encoding may give halves of characters."""
    return name and name.encode(errors="backslashreplace").decode()


def too_many(got: str, most: int) -> RefusedError:
    """Return the refusal of a request with too many images; ``got`` is their number."""
    return RefusedError(
        413, f"The request has {got} images; at most {most} are accepted (--max-images)."
    )
