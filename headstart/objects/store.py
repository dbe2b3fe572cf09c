"""Objects by fsspec: listed page by page, and read in ranges of the version that was listed.

One attempt has a bounded time and a bounded number of bytes. A transient error is tried again by
:class:`headstart.downloads.client.RetryPolicy`; the libraries' own repetitions are turned off.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from headstart._utils.errors import SourceError
from headstart._utils.extras import needs_extra
from headstart.downloads.client import DownloadError, RetryPolicy, retried
from headstart.objects.faults import ChangedError, explained
from headstart.objects.place import Place, Stored

T = TypeVar("T")

#: Requests at once.
CONNECTIONS = 16
_PAGE = 1000  # objects of one answer; S3 sends no more
_SLOWEST = 50_000  # bytes per second: what is slower is asked for again
_POLICY = RetryPolicy(attempts=6, pause=0.5, total=3600.0)


class ObjectStore(ABC):
    """A server of objects; its methods may be called from several threads.

    Parameters
    ----------
    place : Place
    policy : RetryPolicy, optional

    Attributes
    ----------
    repeated : int
        Requests that were sent again.
    """

    def __init__(self, place: Place, policy: RetryPolicy | None = None) -> None:
        self.place, self.policy = place, policy or _POLICY
        self.repeated = 0

    @abstractmethod
    def _pages(self, prefix: str) -> Iterator[list[Stored]]:
        """Yield the objects whose keys begin with a prefix."""

    @abstractmethod
    def _found(self, key: str, limit: float) -> Stored:
        """Return one object, within so many seconds."""

    @abstractmethod
    def _bytes(self, stored: Stored, start: int, end: int, limit: float) -> bytes:
        """Return bytes of an object, and at most one more, within so many seconds."""

    def objects(self, prefix: str) -> Iterator[Stored]:
        """Yield every object whose key begins with a prefix.

        Raises
        ------
        SourceError
            If it cannot be listed.
        """
        for page in self._pages(prefix):
            yield from page

    def find(self, key: str) -> Stored | None:
        """Return the object with a key; None if there is none."""
        try:
            return self._asked(lambda: self._found(key, self.policy.read))
        except ChangedError:
            return None

    def read(self, stored: Stored, start: int = 0, end: int | None = None) -> bytes:
        """Return the bytes ``start`` to ``end`` of an object.

        Raises
        ------
        ChangedError
            If the object is not the listed one any more.
        SourceError
            If the server does not deliver them within the bounds.
        """
        stop = stored.size if end is None else end
        if start == stop:
            return b""
        limit = self.policy.read + (stop - start) / _SLOWEST

        def attempt() -> bytes:
            content = self._bytes(stored, start, stop, limit)
            if len(content) != stop - start:
                raise DownloadError(
                    f"{len(content):,} of {stop - start:,} bytes came", transient=True
                )
            return content

        return self._asked(attempt)

    def _asked(self, attempt: Callable[[], T]) -> T:
        """Return the result of a request, repeated after transient errors."""

        def told() -> T:
            try:
                return attempt()
            except (DownloadError, SourceError, ChangedError):
                raise
            except Exception as error:
                found = explained(error, self.place)
                if found is error:
                    raise
                raise found from None  # its text and its frames may hold a signature

        try:
            deadline = time.monotonic() + self.policy.total
            return retried(told, self.policy, deadline, self._count)
        except DownloadError as error:
            raise SourceError(
                f"{self.place.server} does not answer for {self.place.url}, in "
                f"{self.policy.attempts:,} attempts: {error}. Nothing was written; what was "
                "fetched is kept. Check `download.url`, `download.endpoint_url` and the network; "
                "then run again."
            ) from None

    def _count(self, _: DownloadError) -> None:
        self.repeated += 1


def open_store(place: Place, policy: RetryPolicy | None = None) -> ObjectStore:
    """Return the server of a place; nothing is asked yet.

    Raises
    ------
    SourceError
        If the package for it is not installed.
    """
    try:
        return (_S3 if place.scheme == "s3" else _AnyStore)(place, policy)
    except ImportError as error:
        protocol = place.protocol
        what = f"`download.source: {place.scheme}`"
        if protocol.extra:
            text = needs_extra(what, protocol.extra, protocol.package)
        else:
            text = (
                f"{what} needs the package {protocol.package}, which is not installed and comes "
                f"with no extra. Install it: `pip install {protocol.package}`."
            )
        raise SourceError(f"{text} Nothing was written.") from error


class _S3(ObjectStore):
    """S3 and servers that speak as it does, by the client inside of s3fs."""

    def __init__(self, place: Place, policy: RetryPolicy | None) -> None:
        super().__init__(place, policy)
        from fsspec.asyn import sync
        from s3fs import S3FileSystem

        self._sync = sync
        self._system = S3FileSystem(
            anon=place.anonymous,
            endpoint_url=place.endpoint_url,
            config_kwargs={
                "retries": {"total_max_attempts": 1},
                "connect_timeout": self.policy.connect,
                "read_timeout": self.policy.read,
                "max_pool_connections": 2 * CONNECTIONS,
            },
            skip_instance_cache=True,
            use_listings_cache=False,
            **({} if place.profile is None else {"profile": place.profile}),
        )

    def _pages(self, prefix: str) -> Iterator[list[Stored]]:
        after: dict[str, str] = {}
        while True:
            named = {"Bucket": self.place.bucket, "Prefix": prefix, "MaxKeys": _PAGE, **after}
            answer = self._asked(lambda named=named: self._call("list_objects_v2", named))  # type: ignore[misc]
            yield [
                Stored(each["Key"], int(each["Size"]), each["ETag"].strip('"'))
                for each in answer.get("Contents", ())
            ]
            if not answer.get("IsTruncated"):
                return
            after = {"ContinuationToken": answer["NextContinuationToken"]}

    def _found(self, key: str, limit: float) -> Stored:
        answer = self._call("head_object", {"Bucket": self.place.bucket, "Key": key}, limit)
        return Stored(key, int(answer["ContentLength"]), answer["ETag"].strip('"'))

    def _call(
        self, name: str, named: Mapping[str, Any], limit: float | None = None
    ) -> Mapping[str, Any]:
        async def call() -> Any:
            return await getattr(await self._client(), name)(**named)

        answer: Mapping[str, Any] = self._sync(
            self._system.loop, call, timeout=limit or self.policy.read
        )
        return answer

    def _bytes(self, stored: Stored, start: int, end: int, limit: float) -> bytes:
        async def read() -> bytes:
            client = await self._client()
            named = {"Bucket": self.place.bucket, "Key": stored.key}
            named["IfMatch"] = f'"{stored.version}"'
            if (start, end) != (0, stored.size):
                named["Range"] = f"bytes={start}-{end - 1}"
            answer = await client.get_object(**named)
            parts, left = [], end - start + 1  # one more shows that there are more
            async with answer["Body"] as body:
                while left and (part := await body.read(left)):
                    parts.append(part)
                    left -= len(part)
            return b"".join(parts)

        content: bytes = self._sync(self._system.loop, read, timeout=limit)
        return content

    async def _client(self) -> Any:
        await self._system.set_session()
        return await self._system.get_s3(self.place.bucket)


class _AnyStore(ObjectStore):
    """Any file system of fsspec; whether an object changed is asked after it was read."""

    def __init__(self, place: Place, policy: RetryPolicy | None) -> None:
        super().__init__(place, policy)
        import fsspec

        named: dict[str, Any] = {}
        if place.anonymous:
            option, value = place.protocol.anonymous
            named[option] = value
        self._system = fsspec.filesystem(
            place.scheme, skip_instance_cache=True, use_listings_cache=False, **named
        )

    def _pages(self, prefix: str) -> Iterator[list[Stored]]:
        root = f"{self.place.bucket}/{prefix.rstrip('/')}".rstrip("/")
        found = self._asked(lambda: self._system.find(root, detail=True))
        listed = map(self._stored, found.values())
        yield [stored for stored in listed if stored.key.startswith(prefix)]

    def _found(self, key: str, limit: float) -> Stored:
        del limit
        found = self._system.info(f"{self.place.bucket}/{key}")
        if found["type"] != "file":
            raise FileNotFoundError(key)
        return self._stored(found)

    def _bytes(self, stored: Stored, start: int, end: int, limit: float) -> bytes:
        name = f"{self.place.bucket}/{stored.key}"
        content: bytes = self._system.cat_file(name, start=start, end=end)
        if self._found(stored.key, limit) != stored:
            raise ChangedError("its version is another one")
        return content

    def _stored(self, found: Mapping[str, Any]) -> Stored:
        name = str(found["name"]).lstrip("/").removeprefix(f"{self.place.bucket}/")
        version = found.get("etag") or found.get("ETag") or found.get("generation")
        if not version:
            raise SourceError(
                f"{self.place.server} states no version of {self.place.url}, so a changed object "
                "would not be noticed. Nothing was written. Copy the objects to a folder, and use "
                "`download.source: folder`."
            )
        return Stored(name, int(found["size"]), str(version).strip('"'))
