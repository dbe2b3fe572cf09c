"""One image from an address: bounded in bytes and in time, and not kept."""

from __future__ import annotations

from headstart._utils.errors import ImageError
from headstart.downloads.client import DownloadError, HttpClient, RetryPolicy, TooLargeError

#: A person waits for the answer: one attempt, and not for long.
POLICY = RetryPolicy(attempts=1, connect=10.0, read=20.0, total=60.0)


def fetch(url: str, max_bytes: int, policy: RetryPolicy = POLICY) -> bytes:
    """Return the body that an address answers with.

    Raises
    ------
    ImageError
        ``unreachable``, with the words of the server or the network; ``too_large``.
    """
    try:
        with HttpClient(policy) as client:
            return client.read(url, max_bytes)
    except TooLargeError as error:
        raise ImageError("too_large", str(error)) from error
    except DownloadError as error:
        raise ImageError("unreachable", str(error)) from error
