"""Bodies of requests, read under bounds: of one, of all that are held at once, and of time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from headstart.serving.refusals import RefusedError, busy

_SECONDS = 60.0  # for a body to come


@dataclass(frozen=True)
class Upload:
    """A file of a request; ``name`` is what the client calls it, None for a bare body."""

    name: str | None
    content: bytes


class Bodies:
    """Reads bodies.

    Parameters
    ----------
    max_body : int
        Bytes of one request.
    max_held : int
        Bytes of all requests that are being answered.
    seconds : float
        How long a body may take to come.
    """

    def __init__(self, max_body: int, max_held: int, seconds: float = _SECONDS) -> None:
        self.max_body, self.max_held, self.seconds = max_body, max(max_held, max_body), seconds
        self.held = 0

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """The chunks of a body; they count as held until the block ends.

        Raises
        ------
        RefusedError
            413, as soon as it is known; 408; 503 while others fill the room.
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
                    408, f"The body did not come within {self.seconds:g} seconds."
                ) from None

    def _too_large(self, size: str) -> RefusedError:
        return RefusedError(
            413, f"The body has {size} bytes; at most {self.max_body:,} are accepted (--max-body)."
        )


async def files(
    request: Request, stream: AsyncGenerator[bytes, None], max_files: int
) -> list[Upload]:
    """The files of a multipart body, whatever their fields are called.

    Raises
    ------
    RefusedError
        400 if it is malformed, 413 if there are too many files, 422 if there is none.
    """
    # One more than is accepted, so that the refusal is ours; a part that is no file is small.
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
            raise RefusedError(422, "The multipart body holds no file. Send one part an image.")
        if len(parts) > max_files:
            raise too_many(f"more than {max_files}", max_files)
        return [Upload(_valid(part.filename), await part.read()) for part in parts]
    finally:
        await form.close()


def _valid(name: str | None) -> str | None:
    """A name that UTF-8 can say: the client's encoding may give halves of characters."""
    return name and name.encode(errors="backslashreplace").decode()


def too_many(got: str, most: int) -> RefusedError:
    """More images than a request may have; ``got`` says how many."""
    return RefusedError(
        413, f"The request has {got} images; at most {most} are accepted (--max-images)."
    )
