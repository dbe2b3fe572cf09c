"""The work of a cluster in chunks: runs of missing images, in the order of the shards."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from headstart.cluster.task import Item
from headstart.features.forward_passes import Image, wanted_views
from headstart.features.store import row_bytes, view_key

#: A chunk takes a worker about this many seconds: many more than the 5 ms that Dask needs for it.
_SECONDS = 1.0
#: Passes of a worker's first chunk, when its speed is not known, and the most of any chunk.
_FIRST, _MOST = 4, 256
#: The features of a chunk, and the images of one, take at most this many bytes (if more than one).
_BYTES = 8 << 20
#: The passes that remain are handed out in this many rounds, so that the workers end together.
_ROUNDS = 4


@dataclass(eq=False)
class Chunk:
    """Some images with the views that are wanted of each.

    Attributes
    ----------
    wanted : list of (Image, int)
        An image and the number of a view; all views of an image follow one another.
    accepted : bool
        The features are recorded; a second answer is not needed.
    """

    wanted: list[tuple[Image, int]]
    accepted: bool = False

    @property
    def keys(self) -> list[str]:
        """The keys of the features in the store."""
        return [view_key(image.image_id, view) for image, view in self.wanted]

    def items(self, *, contents: bool, address: Callable[[int], str] | None = None) -> list[Item]:
        """Return the images as plain data.

        Parameters
        ----------
        contents : bool
            With their bytes.
        address : callable, optional
            From the number of a shard to its address in object storage.
        """
        items: dict[str, Item] = {}
        for image, view in self.wanted:
            if image.image_id not in items:
                items[image.image_id] = {
                    "image_id": image.image_id,
                    "name": image.name,
                    "views": [],
                    "place": image.place,
                    "address": address(image.place.shard) if address and image.place else None,
                    "content": image.read() if contents else None,
                }
            items[image.image_id]["views"].append(view)
        return list(items.values())


class Chunks:
    """The passes that nobody has been given yet.

    Parameters
    ----------
    images : iterable of Image
        Iterated once for every :meth:`want`.
    missing : sequence of str
        Keys of the store.
    shape : sequence of int
        Of one image's features.

    Attributes
    ----------
    left : int
        Passes that were not taken, or came back.
    """

    def __init__(
        self, images: Iterable[Image], missing: Sequence[str], shape: Sequence[int]
    ) -> None:
        self._images, self._row = images, row_bytes(shape)
        self._returned: deque[Chunk] = deque()
        self._ahead: tuple[Image, int] | None = None
        self._wanted = iter(wanted_views(images, missing))
        self.left = len(missing)

    def want(self, keys: Sequence[str]) -> None:
        """Add passes that were taken before, and have to be computed again."""
        self._wanted = chain(self._wanted, wanted_views(self._images, keys))
        self.left += len(keys)

    def put_back(self, chunk: Chunk) -> None:
        """Return a chunk, which is taken next unless it is accepted by then."""
        if chunk not in self._returned:
            self._returned.appendleft(chunk)
            self.left += len(chunk.wanted)

    def take(self, seconds_per_pass: float | None, threads: int) -> Chunk | None:
        """Return the next chunk for a worker; None if nothing is left.

        Parameters
        ----------
        seconds_per_pass : float or None
            Of this worker; None if it is not known.
        threads : int
            Of all workers together.
        """
        while self._returned:
            chunk = self._returned.popleft()
            self.left -= len(chunk.wanted)
            if not chunk.accepted:
                return chunk
        chunk = Chunk(self._run(self._size(seconds_per_pass, threads)))
        self.left -= len(chunk.wanted)
        return chunk if chunk.wanted else None

    def _size(self, seconds_per_pass: float | None, threads: int) -> int:
        size = _FIRST if seconds_per_pass is None else int(_SECONDS / max(seconds_per_pass, 1e-9))
        share = -(-self.left // (_ROUNDS * max(1, threads)))
        return max(1, min(size, max(share, _FIRST), _MOST, _BYTES // self._row))

    def _run(self, size: int) -> list[tuple[Image, int]]:
        """Return the next passes, ``size`` at most: of one shard, or of several small ones."""
        found: list[tuple[Image, int]] = []
        read = 0
        while len(found) < size and (following := self._next()) is not None:
            image = following[0]
            if not found or found[-1][0].image_id != image.image_id:
                read += 0 if image.place is None else image.place.length
            if found and (read > _BYTES or (_half(found, size) and _apart(found[-1][0], image))):
                self._ahead = following
                break
            found.append(following)
        return found

    def _next(self) -> tuple[Image, int] | None:
        following, self._ahead = self._ahead, None
        return following or next(self._wanted, None)


def _half(found: list[tuple[Image, int]], size: int) -> bool:
    return 2 * len(found) >= size


def _apart(one: Image, other: Image) -> bool:
    """Return True if two images lie in different shards."""
    return bool(one.place and other.place and one.place.shard != other.place.shard)
