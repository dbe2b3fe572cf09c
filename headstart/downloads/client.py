"""A streaming HTTP client, bounded in bytes and in time, that retries transient errors.

Examples
--------
One body in memory, and one file with a known checksum::

    with HttpClient() as client:
        content = client.read("https://example.org/cat.jpg", max_bytes=10_000_000)

    download_file(url, Path("weights.h5"), digest=sha256)  # headstart.downloads.file
"""

from __future__ import annotations

import errno
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from headstart._utils.errors import chain
from headstart._utils.names import without_credentials
from headstart._utils.tables import plain
from headstart.downloads.connections import Adapter, ForbiddenAddressError, Terms, on_terms
from headstart.downloads.reach import Reach

T = TypeVar("T")

_CHUNK = 1 << 18
_LONGEST_REASON = 300  # characters of a server's own words that are repeated
_LONGEST_PAUSE = 60.0  # seconds
_TRANSIENT_STATUS = {408, 425, 429, 500, 502, 503, 504}
_NO_NETWORK = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN}
_INVALID_ADDRESS = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
)
_INTERRUPTED = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    ConnectionError,
    TimeoutError,
)


@dataclass(frozen=True)
class RetryPolicy:
    """Bounds on the time that a download may take.

    Parameters
    ----------
    attempts : int
        Failed attempts in a row that end the download. An attempt that adds bytes to a file
        starts the count again.
    tries : int
        Attempts in total, however many bytes they add.
    pause : float
        Seconds before the second attempt; doubled for each further one, up to a minute.
    connect, read : float
        Seconds to wait for a connection and for the next bytes.
    total : float
        Seconds for all attempts together.
    redirects : int
        Redirects that are followed.
    mismatches : int
        Complete files with another checksum that end the download.
    """

    attempts: int = 5
    tries: int = 100
    pause: float = 1.0
    connect: float = 15.0
    read: float = 60.0
    total: float = 12 * 3600.0
    redirects: int = 5
    mismatches: int = 1


class DownloadError(Exception):
    """A download failed; the message is a phrase that callers put into a sentence.

    Attributes
    ----------
    advice : str
        The remedy, as sentences; may be empty.
    transient : bool
        True if a later attempt may succeed.
    wait : float
        Seconds that the server asks to wait before the next attempt.
    """

    def __init__(
        self, reason: str, *, advice: str = "", transient: bool = False, wait: float = 0.0
    ) -> None:
        super().__init__(without_credentials(reason))
        self.advice, self.transient, self.wait = advice, transient, wait


class TooLargeError(DownloadError):
    """The server has, or sends, more bytes than are accepted."""


class ChecksumError(DownloadError):
    """The file is complete, and its checksum is not the expected one.

    Attributes
    ----------
    expected, got : str
        Hex digests.
    """

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(f"expected the checksum {expected}, got {got}")
        self.expected, self.got = expected, got


class HttpClient:
    """Connections that threads may share; close it, or use it in a ``with`` block.

    Parameters
    ----------
    policy : RetryPolicy, optional
    connections : int
        Connections per server that are kept open.
    """

    def __init__(self, policy: RetryPolicy | None = None, connections: int = 1) -> None:
        self.policy = policy or RetryPolicy()
        self._session = requests.Session()
        # Undecoded: a .tar.gz that is labeled as gzip-encoded must stay one, and a body that
        # unpacks to a thousand times its size must not be unpacked.
        self._session.headers["User-Agent"] = "headstart"
        self._session.headers["Accept-Encoding"] = "identity"
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, Adapter(pool_maxsize=connections))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def deadline(self) -> float:
        """Return the monotonic time at which a download that starts now has to end."""
        return time.monotonic() + self.policy.total

    def read(self, url: str, max_bytes: int) -> bytes:
        """Return the body that an address answers with.

        Raises
        ------
        DownloadError
            If no attempt succeeds; :class:`TooLargeError` for more than ``max_bytes``.
        """
        deadline = self.deadline()

        def attempt() -> bytes:
            with self.open(url, deadline) as answer:
                return b"".join(self.body(answer, max_bytes, deadline))

        return self.retry(attempt, deadline)

    @contextmanager
    def open(
        self, url: str, deadline: float, headers: Mapping[str, str] | None = None
    ) -> Iterator[requests.Response]:
        """Yield the answer to one request, with its body unread.

        Its status is 200, or 206 or 416 if ``headers`` ask for a range.

        Raises
        ------
        DownloadError
            For every other status, and for errors of the connection within the block.
        """
        try:
            with self._followed(url, deadline, headers) as answer:
                ranged = {206, 416} if headers and "Range" in headers else set()
                if answer.status_code not in {200, *ranged}:
                    raise _refused(answer)
                yield answer
        except _INVALID_ADDRESS as error:
            raise DownloadError(
                f"it is not a valid address: {innermost(error)}", advice="Check the address."
            ) from error
        except _INTERRUPTED as error:
            if time.monotonic() >= deadline:
                raise self._late() from error
            raise DownloadError(innermost(error), transient=True) from error

    def _followed(
        self, url: str, deadline: float, headers: Mapping[str, str] | None
    ) -> requests.Response:
        """Return the answer at the end of the redirects. The bodies of redirects stay unread.

        A redirect may lead to addresses with the reach of the first connection, or a wider one.
        """
        least: Reach | None = None
        for _ in range(self.policy.redirects + 1):
            terms = Terms(deadline, Reach.MACHINE if least is None else least)
            try:
                answer = self._answered(url, terms, headers)
            except ForbiddenAddressError:
                host = plain((urlsplit(url).hostname or "")[:_LONGEST_REASON])
                raise DownloadError(
                    f"it redirects to {host}, an address of this machine or its network, which "
                    "it may not name",
                    advice="If that is where the file is, name that address itself.",
                ) from None
            target = self._session.get_redirect_target(answer)
            if target is None:
                return answer
            answer.close()
            url = urljoin(url, target)
            if least is None:
                least = Reach.WORLD if terms.reached is None else terms.reached
        raise DownloadError(
            f"it redirects more than {self.policy.redirects} times", advice="Check the address."
        )

    def _answered(
        self, url: str, terms: Terms, headers: Mapping[str, str] | None
    ) -> requests.Response:
        left = max(terms.deadline - time.monotonic(), 0.01)
        timeout = (min(self.policy.connect, left), min(self.policy.read, left))
        with on_terms(terms):
            return self._session.get(
                url, headers=headers, stream=True, timeout=timeout, allow_redirects=False
            )

    def _late(self, done: int | None = None) -> DownloadError:
        arrived = "" if done is None else f"; {done:,} bytes had arrived"
        return DownloadError(
            f"it was not complete within {self.policy.total:,.0f} seconds{arrived}", transient=True
        )

    def body(
        self, answer: requests.Response, max_bytes: int | None, deadline: float, start: int = 0
    ) -> Iterator[bytes]:
        """Yield the body's bytes as they arrive, the first of them being byte ``start``.

        Raises
        ------
        DownloadError
            If the body ends early or takes too long; :class:`TooLargeError` if the file has more
            than ``max_bytes``, by the length that the server states or by the bytes that came.
        """
        total = stated_length(answer, start)
        if total is not None and max_bytes is not None and total > max_bytes:
            raise TooLargeError(f"{total:,} bytes; at most {max_bytes:,} are accepted")
        done = start
        # read1 returns what has come; read would wait until a chunk is full, however slow.
        while chunk := _arrived(answer, total):
            done += len(chunk)
            if max_bytes is not None and done > max_bytes:
                raise TooLargeError(f"more than {max_bytes:,} bytes, which is all that is accepted")
            yield chunk
            if time.monotonic() > deadline:
                raise self._late(done)
        if total is not None and done < total:
            raise DownloadError(
                f"the connection ended after {done:,} of {total:,} bytes", transient=True
            )

    def retry(
        self, attempt: Callable[[], T], deadline: float, progress: Callable[[], int] = lambda: 0
    ) -> T:
        """Return the result of ``attempt``, by :func:`retried`; print each reason once."""
        said = set()

        def say(error: DownloadError) -> None:
            if str(error) not in said:
                said.add(str(error))
                print(f"{error}; trying again …", file=sys.stderr, flush=True)

        return retried(attempt, self.policy, deadline, say, progress)


def retried(
    attempt: Callable[[], T],
    policy: RetryPolicy,
    deadline: float,
    say: Callable[[DownloadError], None],
    progress: Callable[[], int] = lambda: 0,
) -> T:
    """Return the result of ``attempt``; call it again after transient errors.

    Parameters
    ----------
    attempt : callable
    policy : RetryPolicy
    deadline : float
        Monotonic time after which nothing is attempted.
    say : callable
        Called with each error after which it is tried again.
    progress : callable
        Returns a number that grows with every attempt that brings the download forward.

    Raises
    ------
    DownloadError
        The last attempt's.
    """
    failed, tries = 0, 0
    while True:
        before, tries = progress(), tries + 1
        try:
            return attempt()
        except DownloadError as error:
            failed = 1 if progress() > before else failed + 1
            left = deadline - time.monotonic()
            ended = failed >= policy.attempts or tries >= policy.tries
            if not error.transient or ended or left <= 0:
                raise
            wait = max(policy.pause * 2 ** (failed - 1), error.wait)
            wait = min(wait, _LONGEST_PAUSE, left)
            say(error)
        time.sleep(wait)


def stated_length(answer: requests.Response, start: int = 0) -> int | None:
    """Return the length of the file whose bytes from ``start`` on are sent; None if unknown."""
    length = answer.headers.get("Content-Length", "")
    return start + int(length) if length.isdigit() else None


def _arrived(answer: requests.Response, total: int | None) -> bytes:
    try:
        return answer.raw.read1(_CHUNK, decode_content=False)
    except urllib3.exceptions.ProtocolError:
        if total is None:
            raise
        return b""  # the caller misses the rest, and says how much of it


def _refused(answer: requests.Response) -> DownloadError:
    # The words are untrusted: bounded, and without control characters.
    words = plain(f"{answer.status_code} {answer.reason}"[:_LONGEST_REASON])
    return DownloadError(
        f"the server answered {words}",
        advice="Check the address, and whether it needs you to log in.",
        transient=answer.status_code in _TRANSIENT_STATUS,
        wait=_retry_after(answer),
    )


def _retry_after(answer: requests.Response) -> float:
    """Return the seconds that the server asks to wait; 0 if it does not say."""
    stated = answer.headers.get("Retry-After", "").strip()
    try:
        return urllib3.Retry().parse_retry_after(stated)
    except (urllib3.exceptions.InvalidHeader, OverflowError, ValueError):
        return 0.0


def innermost(error: BaseException) -> str:
    """Return the innermost cause: the libraries around it fill the line with addresses."""
    *_, error = chain(error)
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, socket.gaierror) or getattr(error, "errno", None) in _NO_NETWORK:
        text = f"this machine has no network, or the address is wrong ({text})"
    return plain(without_credentials(text)[:_LONGEST_REASON])
