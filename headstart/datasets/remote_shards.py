"""Images of shards in object storage, read by range: no shard is fetched as a whole.

Examples
--------
A worker that shares no disk with the driver reads the shards where ``dvc push`` put them::

    addresses = shard_addresses("s3://my-bucket/dvc", listing)  # on the driver: a plain mapping
    with RemoteShardReader(addresses) as reader:                # on each worker
        content = reader.read(row.shard, row.offset, row.bytes, row.image_id)

``listing`` is DVC's list of data/images, from name to MD5
(:meth:`headstart.stage.recorded_inputs.RecordedInput.listing`).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

from headstart._utils.errors import CorruptFileError
from headstart._utils.files import sha256_bytes
from headstart.downloads.client import RetryPolicy
from headstart.objects.faults import ChangedError
from headstart.objects.place import Place, Stored
from headstart.objects.store import ObjectStore, open_store

#: Bytes between two images that are read for one request less, and the most of one request.
_GAP, _AT_ONCE = 64 << 10, 8 << 20


def shard_addresses(remote: str, listing: Mapping[str, str]) -> dict[int, str]:
    """Return the address of each shard in a remote of DVC.

    Parameters
    ----------
    remote : str
        The address of the remote, as ``dvc remote list`` shows it.
    listing : mapping of str to str
        File name of each shard to the MD5 of its bytes.

    Examples
    --------
    >>> shard_addresses("s3://bucket/dvc", {"00.zip": "0a1b2c"})
    {0: 's3://bucket/dvc/files/md5/0a/1b2c'}
    """
    return {
        int(name.removesuffix(".zip")): object_address(remote, md5)
        for name, md5 in sorted(listing.items())
    }


def object_address(remote: str, md5: str) -> str:
    """Return where a remote of DVC has the file with some MD5."""
    return f"{remote.rstrip('/')}/files/md5/{md5[:2]}/{md5[2:]}"


class Wanted(NamedTuple):
    """An image in a shard: its first byte, its length in bytes, and the SHA-256 that names it."""

    offset: int
    length: int
    image_id: str


class RemoteShardReader:
    """Reads single images by their location, from any number of threads at once.

    It reads as :class:`headstart.datasets.shards.ShardReader` does.

    Parameters
    ----------
    addresses : mapping of int to str
        ``s3://BUCKET/KEY`` of each shard.
    endpoint_url : str, optional
        The server; default: the provider's own.
    anonymous : bool
        Send no credentials. Credentials are those of the worker's environment.
    policy : RetryPolicy, optional
        How often to ask again.
    """

    def __init__(
        self,
        addresses: Mapping[int, str],
        endpoint_url: str | None = None,
        *,
        anonymous: bool = False,
        policy: RetryPolicy | None = None,
    ) -> None:
        self._addresses, self._endpoint, self._anonymous = addresses, endpoint_url, anonymous
        self._policy = policy
        self._opened: dict[int, tuple[ObjectStore, Stored]] = {}
        self._lock = threading.Lock()

    def read(self, shard: int, offset: int, length: int, image_id: str) -> bytes:
        """Return the image's bytes, checked against the SHA-256 that names it.

        Raises
        ------
        CorruptFileError
            If the shard is absent or short, or the bytes do not match ``image_id``.
        SourceError
            If the server does not answer, or refuses.
        """
        [content] = self.read_several(shard, [Wanted(offset, length, image_id)])
        return content

    def read_several(self, shard: int, images: Sequence[Wanted]) -> list[bytes]:
        """Return the bytes of images of one shard, in one request for those that are neighbors.

        Raises
        ------
        CorruptFileError, SourceError
            As :meth:`read`.
        """
        store, stored = self._open(shard)
        found: dict[int, bytes] = {}
        for run in _runs(images):
            start = min(images[run[0]].offset, stored.size)
            end = min(
                max(images[place].offset + images[place].length for place in run), stored.size
            )
            try:
                content = store.read(stored, start, end)
            except ChangedError as error:
                raise self._wrong(
                    shard, f"was replaced or removed while it was read ({error})"
                ) from None
            for place in run:
                image = images[place]
                own = content[image.offset - start :][: image.length]
                if len(own) != image.length or sha256_bytes(own) != image.image_id:
                    raise self._wrong(
                        shard,
                        f"does not hold the image {image.image_id} at byte {image.offset}: "
                        f"expected {image.length} bytes with that sha256, got {len(own)} bytes "
                        f"with {sha256_bytes(own)}",
                    )
                found[place] = own
        return [found[place] for place in range(len(images))]

    def _open(self, shard: int) -> tuple[ObjectStore, Stored]:
        with self._lock:
            if shard not in self._opened:
                if shard not in self._addresses:
                    raise CorruptFileError(f"No address is known of the shard {shard:02}.zip.")
                place = Place(self._addresses[shard], self._endpoint, self._anonymous)
                store = open_store(place, self._policy)
                stored = store.find(place.key)
                if stored is None:
                    raise self._wrong(shard, "does not exist")
                self._opened[shard] = store, stored
            return self._opened[shard]

    def _wrong(self, shard: int, what: str) -> CorruptFileError:
        return CorruptFileError(
            f"The shard {shard:02}.zip at {self._addresses[shard]} {what}. Nothing was computed "
            "from it. `dvc push data/images` writes what the remote lacks; `headstart doctor` "
            "finds a damaged copy in DVC's cache."
        )

    def close(self) -> None:
        """Forget the shards that were opened."""
        with self._lock:
            self._opened.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _runs(images: Sequence[Wanted]) -> list[list[int]]:
    """Return the places of images that are read at once: neighbors, of a few megabytes."""
    runs: list[list[int]] = []
    start = end = 0
    for place in sorted(range(len(images)), key=lambda place: images[place].offset):
        offset, stop = images[place].offset, images[place].offset + images[place].length
        if runs and offset <= end + _GAP and max(stop, end) - start <= _AT_ONCE:
            runs[-1].append(place)
            end = max(end, stop)
        else:
            runs.append([place])
            start, end = offset, stop
    return runs
