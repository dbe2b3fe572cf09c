"""Fetches one file whose sha256 is known: resumed, retried, bounded, and kept for the next run.

A finished file lies in ``$HEADSTART_CACHE/downloads/<sha256>`` (else in the user's cache folder);
an unfinished one beside it with ``.part``, together with what the server said of its version.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import requests
import urllib3

from headstart._utils import locks
from headstart._utils.cache import cache_folder
from headstart._utils.errors import SourceError
from headstart._utils.files import read_json, sha256_file, write_json
from headstart._utils.progress import progress

_CHUNK = 1 << 18
_MEGABYTE = 1_000_000
PASSING = {408, 425, 429, 500, 502, 503, 504}  # answers that a later try may better
NO_ADDRESS = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
)
#: After these, a later try may fare better.
INTERRUPTED = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    ConnectionError,
    TimeoutError,
)


@dataclass(frozen=True)
class Patience:
    """Bounds of a download.

    Parameters
    ----------
    tries : int
        Tries in a row that bring nothing; one that brings bytes starts the count anew.
    pause : float
        Seconds before the second try; doubled for each further one, up to a minute.
    connect, read : float
        Seconds to wait for a connection and for the next bytes.
    total : float
        Seconds for everything.
    redirects : int
        How often the server may point elsewhere.
    """

    tries: int = 5
    pause: float = 1.0
    connect: float = 15.0
    read: float = 60.0
    total: float = 12 * 3600.0
    redirects: int = 5


class Passing(Exception):  # noqa: N818 - a signal to try again, never shown
    """A fault that may pass."""

    def __init__(self, text: str, wait: float = 0.0) -> None:
        super().__init__(text)
        self.wait = wait


def downloads_folder() -> Path:
    """Where downloads are kept."""
    return cache_folder() / "downloads"


def fetch(url: str, sha256: str, max_bytes: int, patience: Patience | None = None) -> Path:
    """The file with this sha256, from the cache or from the URL.

    Raises
    ------
    SourceError
        If the server does not deliver it within the bounds, or delivers another file.
    """
    folder = downloads_folder()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / sha256
    # The others wait and find it finished. (On Windows, two runs fetch it, and the later one wins.)
    busy = "Another run (process {holder}) is fetching the same file. Waiting for it …"
    with locks.exclusive_lock(target.with_name(f"{sha256}.lock"), busy):
        if target.exists():
            if sha256_file(target) == sha256:
                return target
            print(f"{target} was damaged and is fetched again.", file=sys.stderr)
            target.unlink()
        _Download(url, sha256, max_bytes, target, patience or Patience()).run()
    return target


class _Download:
    """One download with its unfinished file."""

    def __init__(
        self, url: str, sha256: str, max_bytes: int, target: Path, patience: Patience
    ) -> None:
        self.url, self.sha256, self.max_bytes = url, sha256, max_bytes
        self.target, self.patience = target, patience
        self.part = target.with_name(f"{sha256}.part")
        self.note = target.with_name(f"{sha256}.json")
        self.session = requests.Session()
        self.session.max_redirects = patience.redirects
        self.deadline = time.monotonic() + patience.total
        self.whole = False  # whether the server said how long the file is, and sent as much

    def run(self) -> None:
        """Try until the file is there."""
        failed, fresh = 0, False
        while True:
            before = self.size()
            try:
                self._try()
            except Passing as fault:
                failed = 1 if self.size() > before else failed + 1
                self._pause(fault, failed)
                continue
            got = sha256_file(self.part)
            if got == self.sha256:
                self.part.replace(self.target)
                self.note.unlink(missing_ok=True)
                return
            self._drop()
            if fresh or (before == 0 and self.whole):
                raise SourceError(self._another(got))
            # Parts of two versions do not make a file, and without a length an end that came too
            # early looks like the end: once more, from the first byte.
            fresh = True

    def size(self) -> int:
        """Bytes that are there already."""
        return self.part.stat().st_size if self.part.exists() else 0

    def _try(self) -> None:
        have = self.size()
        headers = {"Accept-Encoding": "identity", "User-Agent": "headstart"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if validator := self._validator():
                headers["If-Range"] = validator
        left = max(self.deadline - time.monotonic(), 0.01)
        try:
            with self.session.get(
                self.url,
                headers=headers,
                stream=True,
                timeout=(min(self.patience.connect, left), min(self.patience.read, left)),
            ) as answer:
                self._receive(answer, have)
        except requests.TooManyRedirects as error:
            raise SourceError(
                f"{self.url} leads from redirect to redirect, more than "
                f"{self.patience.redirects} times. Nothing was written. Check the address."
            ) from error
        except NO_ADDRESS as error:
            raise SourceError(f"{self.url} is no address that can be fetched: {error}.") from error
        except INTERRUPTED as error:
            raise Passing(short(error)) from error
        except OSError as error:
            raise SourceError(
                f"{self.part} cannot be written: {error}. What was fetched before is kept; make "
                "room, or let $HEADSTART_CACHE name another folder, and run again."
            ) from error

    def _receive(self, answer: requests.Response, have: int) -> None:
        if answer.status_code == 416 and have:
            if sha256_file(self.part) != self.sha256:
                self._drop()
                raise Passing("the server has fewer bytes than were fetched before")
            return
        if answer.status_code in PASSING:
            raise Passing(f"status {answer.status_code}", retry_after(answer))
        if answer.status_code not in {200, 206}:
            raise SourceError(
                f"{self.url} answered with status {answer.status_code} {answer.reason}. Nothing "
                "was written. Check the address, and whether it needs you to log in."
            )
        resumed = answer.status_code == 206
        if resumed and not (answer.headers.get("Content-Range", "")).startswith(f"bytes {have}-"):
            self._drop()
            raise Passing("the server sent another part than was asked for")
        start = have if resumed else 0
        length = answer.headers.get("Content-Length", "")
        total = start + int(length) if length.isdigit() else 0
        self._check_room(total, start)
        validator = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        write_json(self.note, {"url": self.url, "validator": validator})
        with self.part.open("ab" if resumed else "wb") as file:
            self._copy(answer, file, start, total)
        self.whole = total > 0

    def _copy(self, answer: requests.Response, file: Any, start: int, total: int) -> None:
        shown = start // _MEGABYTE
        with progress(total // _MEGABYTE, "Downloading", "MB") as bar:
            bar.update(shown)
            done = start
            # Undecoded: a .tar.gz that is labeled as "gzip-encoded" must stay one.
            # read1 returns what has come; read would wait until a chunk is full, however slow.
            while chunk := answer.raw.read1(_CHUNK, decode_content=False):
                file.write(chunk)
                done += len(chunk)
                if done > self.max_bytes:
                    file.close()
                    self._drop()
                    raise self._too_big(f"more than {self.max_bytes:,}")
                if time.monotonic() > self.deadline:
                    raise SourceError(
                        f"{self.url} was not fetched within {self.patience.total:,.0f} seconds. "
                        f"{done:,} bytes are kept; run again to go on from there."
                    )
                bar.update(done // _MEGABYTE - shown)
                shown = done // _MEGABYTE
            file.flush()
            os.fsync(file.fileno())
        if total and done < total:
            raise Passing(f"the connection ended after {done:,} of {total:,} bytes")

    def _check_room(self, total: int, have: int) -> None:
        if total > self.max_bytes:
            self._drop()
            raise self._too_big(f"{total:,}")
        free = shutil.disk_usage(self.part.parent).free
        if total - have > free:
            raise SourceError(
                f"{self.url} has {total:,} bytes, of which {total - have:,} are missing, and "
                f"{self.part.parent} has room for {free:,}. Make room, or let $HEADSTART_CACHE "
                "name a folder on another disk."
            )

    def _validator(self) -> str | None:
        """What tells versions apart; a weak ETag does not vouch for bytes."""
        try:
            note = read_json(self.note)
        except (OSError, ValueError):
            return None
        if not isinstance(note, dict) or note.get("url") != self.url:
            return None
        value = note.get("validator")
        return value if isinstance(value, str) and not value.startswith("W/") else None

    def _pause(self, fault: Passing, failed: int) -> None:
        left = self.deadline - time.monotonic()
        if failed >= self.patience.tries or left <= 0:
            raise SourceError(
                f"{self.url} could not be fetched: {fault}. It was tried {failed} times in a row. "
                f"{self.size():,} bytes are kept; run again to go on from there."
            ) from fault
        wait = max(self.patience.pause * 2 ** (failed - 1), fault.wait)
        wait = min(wait, 60.0, left)
        print(f"{fault}; trying again in {wait:.0f} s …", file=sys.stderr, flush=True)
        time.sleep(wait)

    def _drop(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def _too_big(self, size: str) -> SourceError:
        return SourceError(
            f"{self.url} has {size} bytes; `download.max_total_bytes` allows {self.max_bytes:,}. "
            "What was fetched is deleted. Raise the parameter if the file is wanted."
        )

    def _another(self, got: str) -> str:
        return (
            f"{self.url} sent another file than `download.sha256` names.\n"
            f"  expected {self.sha256}\n  got      {got}\n"
            "It was deleted. The file may have been replaced, a page for logging in may have come "
            "in its place, or a proxy changed it. Open the address in a browser; if the new file "
            "is the one you want, put its sha256 into the parameter."
        )


def retry_after(answer: requests.Response) -> float:
    """Seconds that the server asks to wait; 0 if it does not say."""
    said = answer.headers.get("Retry-After", "")
    if said.isdigit():
        return float(said)
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0


def short(error: BaseException) -> str:
    """The innermost cause: what the libraries wrap around it fills the line with addresses."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
