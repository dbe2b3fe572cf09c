"""Single images of shards in object storage, read by range: no shard is fetched as a whole.

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
from collections.abc import Mapping
from typing import Self

from headstart._utils.errors import CorruptFileError
from headstart._utils.files import sha256_bytes
from headstart.objects.faults import ChangedError
from headstart.objects.place import Place, Stored
from headstart.objects.store import ObjectStore, open_store


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
    top = remote.rstrip("/")
    return {
        int(name.removesuffix(".zip")): f"{top}/files/md5/{md5[:2]}/{md5[2:]}"
        for name, md5 in sorted(listing.items())
    }


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
    """

    def __init__(
        self,
        addresses: Mapping[int, str],
        endpoint_url: str | None = None,
        *,
        anonymous: bool = False,
    ) -> None:
        self._addresses, self._endpoint, self._anonymous = addresses, endpoint_url, anonymous
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
        store, stored = self._open(shard)
        end = min(offset + length, stored.size)
        try:
            content = store.read(stored, min(offset, end), end)
        except ChangedError as error:
            raise self._wrong(
                shard, f"was replaced or removed while it was read ({error})"
            ) from None
        if len(content) != length or sha256_bytes(content) != image_id:
            raise self._wrong(
                shard,
                f"does not hold the image {image_id} at byte {offset}: expected {length} bytes "
                f"with that sha256, got {len(content)} bytes with {sha256_bytes(content)}",
            )
        return content

    def _open(self, shard: int) -> tuple[ObjectStore, Stored]:
        with self._lock:
            if shard not in self._opened:
                if shard not in self._addresses:
                    raise CorruptFileError(f"No address is known of the shard {shard:02}.zip.")
                place = Place(self._addresses[shard], self._endpoint, self._anonymous)
                store = open_store(place)
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
