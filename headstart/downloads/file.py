"""Download one file: resumed where it stopped, bounded, and checked against its checksum.

An unfinished file is kept beside its target as ``NAME.part``, with the version that the server
stated in ``NAME.json``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import requests

from headstart._utils.files import read_json, sha256_bytes, write_json
from headstart._utils.names import without_credentials
from headstart._utils.progress import progress
from headstart._utils.tables import plain
from headstart.downloads.client import (
    ChecksumError,
    DownloadError,
    HttpClient,
    RetryPolicy,
    TooLargeError,
    stated_length,
)

_MEGABYTE = 1_000_000


def download_file(
    url: str,
    target: Path,
    *,
    digest: str | None = None,
    max_bytes: int | None = None,
    policy: RetryPolicy | None = None,
    keep_partial: bool = True,
) -> None:
    """Download a file to ``target``, which appears when it is complete.

    Parameters
    ----------
    url : str
    target : Path
        Replaced if it exists; its folder is created.
    digest : str, optional
        Hex MD5 or SHA-256 that the file must have. Without it, a file is resumed only if the
        server vouches for its version.
    max_bytes : int, optional
        Maximum number of bytes; default: any number.
    policy : RetryPolicy, optional
    keep_partial : bool
        True if the bytes of a failed download are kept for the next call.

    Raises
    ------
    DownloadError
        If the file cannot be obtained or written; :class:`ChecksumError` if it is another, and
        :class:`TooLargeError` if it is too large. Nothing is kept after either of these.
    """
    with HttpClient(policy) as client:
        file = _FileDownload(client, url, target, digest, max_bytes)
        try:
            file.run()
        except (ChecksumError, TooLargeError):
            file.drop()
            raise
        except OSError as error:
            raise DownloadError(
                f"{file.part} could not be written: {error.strerror or error}",
                advice="Make room, or use a folder on another disk.",
            ) from error
        finally:
            if not keep_partial:
                with contextlib.suppress(OSError):  # what went wrong before is what is reported
                    file.drop()


def kept_bytes(target: Path) -> int:
    """Return how many bytes of an unfinished download of ``target`` are kept."""
    part = _part(target)
    return part.stat().st_size if part.exists() else 0


def file_digest(path: Path, like: str) -> str:
    """Return a file's hex digest by the algorithm, MD5 or SHA-256, of the digest ``like``."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5" if len(like) == 32 else "sha256").hexdigest()


def _part(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


class _FileDownload:
    """One download with its unfinished file."""

    def __init__(
        self, client: HttpClient, url: str, target: Path, digest: str | None, max_bytes: int | None
    ) -> None:
        self.client, self.url, self.target = client, url, target
        self.digest, self.max_bytes = digest, max_bytes
        self.part = _part(target)
        self.version = target.with_name(f"{target.name}.json")
        self.deadline = client.deadline()
        self.certain = False  # whether one answer sent all bytes, and said how many they are

    def run(self) -> None:
        """Download until the file is complete and has the right checksum."""
        self.target.parent.mkdir(parents=True, exist_ok=True)
        mismatches, again = 0, False
        while True:
            self.client.retry(self._attempt, self.deadline, lambda: kept_bytes(self.target))
            got = self.digest and file_digest(self.part, self.digest)
            if got == self.digest:
                self.part.replace(self.target)
                self.version.unlink(missing_ok=True)
                return
            self.drop()
            # Parts of two versions do not make a file, and without a length an end that came too
            # early looks like the end: neither counts when it happens first.
            mismatches += self.certain or again
            again = True
            if mismatches >= self.client.policy.mismatches:
                raise ChecksumError(str(self.digest), str(got))
            print(
                f"{without_credentials(self.url)} sent another file; trying again …",
                file=sys.stderr,
                flush=True,
            )

    def drop(self) -> None:
        """Delete the kept bytes."""
        self.part.unlink(missing_ok=True)
        self.version.unlink(missing_ok=True)

    def _attempt(self) -> None:
        have, version = kept_bytes(self.target), self._version()
        headers = {}
        if have and (self.digest or version):
            headers["Range"] = f"bytes={have}-"
            if version:
                headers["If-Range"] = version
        with self.client.open(self.url, self.deadline, headers) as answer:
            if answer.status_code == 416:
                if self.digest and have and file_digest(self.part, self.digest) == self.digest:
                    return
                self.drop()
                raise DownloadError(
                    "the server has fewer bytes than were fetched before", transient=True
                )
            self._receive(answer, have)

    def _receive(self, answer: requests.Response, have: int) -> None:
        resumed = answer.status_code == 206
        if resumed and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            self.drop()
            raise DownloadError(
                "the server sent another part than the requested one", transient=True
            )
        start = have if resumed else 0
        total = stated_length(answer, start)
        self._check_room((total or 0) - start)
        validator = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        write_json(
            self.version, {"url_sha256": sha256_bytes(self.url.encode()), "validator": validator}
        )
        self.certain = False
        name = plain(PurePosixPath(urlsplit(self.url).path).name[:40]) or "a file"
        with (
            self.part.open("ab" if resumed else "wb") as file,
            progress((total or 0) // _MEGABYTE, f"Downloading {name}", "MB") as bar,
        ):
            for chunk in self.client.body(answer, self.max_bytes, self.deadline, start):
                file.write(chunk)
                bar.update(file.tell() // _MEGABYTE - bar.done)
            file.flush()
            os.fsync(file.fileno())
        if not kept_bytes(self.target):
            raise DownloadError("the server sent no bytes", transient=True)
        self.certain = total is not None and not resumed

    def _check_room(self, missing: int) -> None:
        free = shutil.disk_usage(self.part.parent).free
        if missing > free:
            raise DownloadError(
                f"{missing:,} bytes are missing, and {self.part.parent} has room for {free:,}",
                advice="Make room, or use a folder on another disk.",
            )

    def _version(self) -> str | None:
        """Return the version of the file; a weak ETag is none, because bytes may differ."""
        try:
            note = read_json(self.version)
        except (OSError, ValueError):
            return None
        if not isinstance(note, dict) or note.get("url_sha256") != sha256_bytes(self.url.encode()):
            return None
        value = note.get("validator")
        return value if isinstance(value, str) and not value.startswith("W/") else None
