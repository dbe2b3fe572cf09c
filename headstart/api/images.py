"""Images as a caller of the API has them: files, encoded bytes, or arrays of pixels."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from headstart._utils.errors import HeadstartError, ImageError
from headstart._utils.files import sha256_bytes
from headstart._utils.tables import counted
from headstart._utils.threads import in_threads
from headstart.datasets.manifests import REJECTED, frame
from headstart.images.decode import Limits, inspect
from headstart.images.png import canonical_png
from headstart.serving.inputs import read_file

LIMITS = Limits()
_SHOWN = 10
_WANTED = (
    "Expected a sequence of paths, of encoded images (bytes), or of uint8 arrays of shape (height, "
    "width) or (height, width, 1, 3 or 4); an array of shape (n_images, height, width, channels); "
    "or a data frame with a column `path`."
)

T = TypeVar("T")


class RejectedImagesError(HeadstartError, ValueError):
    """Some of the images cannot be used; nothing was computed from the others.

    Parameters
    ----------
    rejected : DataFrame
        The columns ``path``, ``reason`` and ``detail``; the index is the position in the input.
    total : int
        Images in all.

    Attributes
    ----------
    rejected : DataFrame
        As given.

    Examples
    --------
    >>> import headstart as hs
    >>> images = [b"not an image", b""]
    >>> try:
    ...     hs.FeatureExtractor().transform(images)
    ... except hs.RejectedImagesError as error:
    ...     print(error.rejected["reason"].tolist())
    ['not_an_image', 'empty']
    """

    def __init__(self, rejected: pd.DataFrame, total: int) -> None:
        rows = list(rejected.itertuples(index=False))
        lines = [f"  - {row.path}: {row.reason}: {row.detail}" for row in rows[:_SHOWN]]
        if len(rows) > _SHOWN:
            lines.append(f"  - and {len(rows) - _SHOWN:,} more: see the attribute `rejected`")
        super().__init__(
            f"{len(rows):,} of {counted(total, 'image')} cannot be used. Nothing was computed.\n"
            + "\n".join(lines)
            + "\nReplace these images or leave them out."
        )
        self.rejected = rejected
        self._total = total

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.rejected, self._total)


class Images:
    """A sequence of images whose bytes are read one at a time, from any number of threads.

    An array stands for the uncompressed PNG file of its pixels. It therefore has the same identity
    as that file, and as any other array with the same pixels.

    Parameters
    ----------
    items : sequence of str, Path, bytes or ndarray; ndarray; Series or DataFrame

    Raises
    ------
    TypeError, ValueError
        If the items are not images.
    """

    def __init__(self, items: Any) -> None:
        self.index = items.index if isinstance(items, pd.Series | pd.DataFrame) else None
        self._items = _sequence(items)
        self.rejected: dict[int, ImageError] = {}

    def __len__(self) -> int:
        return len(self._items)

    def name(self, position: int) -> str:
        """Return the path of an image, or its position for one that has none."""
        item = self._items[position]
        return os.fspath(item) if isinstance(item, str | os.PathLike) else f"image {position}"

    def read(self, position: int) -> bytes:
        """Return the bytes of an image file.

        Raises
        ------
        ImageError
            If the file cannot be read.
        TypeError, ValueError
            If the item is neither a path, nor bytes, nor an array of pixels.
        """
        item = self._items[position]
        if isinstance(item, str | os.PathLike):
            return read_file(os.fspath(item), LIMITS.max_bytes)
        if isinstance(item, bytes | bytearray | memoryview):
            return bytes(item)
        if isinstance(item, np.ndarray):
            return _png(item, position)
        raise TypeError(f"Image {position} is of type {type(item).__name__}. {_WANTED}")

    def each(
        self, function: Callable[[bytes], T], positions: Sequence[int] | None = None
    ) -> list[T | None]:
        """Apply a function to the bytes of images, in threads.

        An :class:`ImageError` is noted in ``rejected``; the result of that image is None.

        Parameters
        ----------
        function : callable
            From the bytes of one image; called from several threads.
        positions : sequence of int, optional
            Default: all images.
        """

        def one(position: int) -> T | None:
            try:
                return function(self.read(position))
            except ImageError as fault:
                self.rejected[position] = fault
                return None

        wanted = range(len(self)) if positions is None else positions
        return [found for _, found in in_threads(one, wanted)]

    def identify(self) -> list[str | None]:
        """Return the SHA-256 of each image file; None for one that cannot be read."""
        return self.each(sha256_bytes)

    def inspect(self, positions: Sequence[int]) -> None:
        """Decode images completely, and note in ``rejected`` those that cannot be decoded."""
        self.each(lambda content: inspect(content, LIMITS), positions)

    def faults(self) -> pd.DataFrame:
        """Return the rejected images: ``path``, ``reason``, ``detail``, indexed by position."""
        rows: list[Mapping[str, object]] = []
        for position, fault in sorted(self.rejected.items()):
            name = self.name(position)
            rows.append({"path": name, "reason": fault.reason, "detail": fault.detail})
        table = frame(rows, REJECTED)
        table.index = pd.Index(sorted(self.rejected), dtype="int64")
        return table

    def require_usable(self) -> None:
        """Raise :class:`RejectedImagesError` if an image was rejected."""
        if self.rejected:
            raise RejectedImagesError(self.faults(), len(self))


def _sequence(items: Any) -> Any:
    """Return the items as a sequence, without reading them."""
    if isinstance(items, str | os.PathLike | bytes):
        raise TypeError(f"Got a single {type(items).__name__}; write it as a list. {_WANTED}")
    if isinstance(items, pd.DataFrame):
        if "shard" in items and "offset" in items:
            raise ValueError(
                "This is the manifest of a run, whose images lie in shards. Read them with "
                "`run.files(rows)`, where `run` is what `headstart.load_run` returned."
            )
        if "path" not in items and items.shape[1] != 1:
            raise ValueError(
                f"The data frame has the columns {', '.join(map(str, items))}. {_WANTED}"
            )
        return (items["path"] if "path" in items else items.iloc[:, 0]).tolist()
    if isinstance(items, np.ndarray):
        return _rows(items)
    return items if isinstance(items, Sequence) else list(items)


def _rows(items: np.ndarray) -> Any:
    if items.dtype.kind in "OUST":  # paths, bytes or arrays
        flat = items.ravel() if items.ndim == 2 and items.shape[1] == 1 else items
        if flat.ndim != 1:
            raise ValueError(f"Got an array of shape {items.shape} and {items.dtype}. {_WANTED}")
        return flat.tolist()
    if items.dtype != np.uint8 or items.ndim not in {3, 4}:
        raise ValueError(f"Got an array of shape {items.shape} and {items.dtype}. {_WANTED}")
    if items.ndim == 3 and items.shape[2] in {1, 3, 4}:
        raise ValueError(
            f"Got an array of shape {items.shape}: a single image? Write it as a list. {_WANTED}"
        )
    return items


def _png(pixels: np.ndarray, position: int) -> bytes:
    gray = pixels.ndim == 3 and pixels.shape[2] == 1
    flat = pixels[..., 0] if gray else pixels
    fits = flat.ndim == 2 or (flat.ndim == 3 and flat.shape[2] in {3, 4})
    if pixels.dtype != np.uint8 or not fits or not pixels.size:
        raise ValueError(
            f"Image {position} is an array of shape {pixels.shape} and {pixels.dtype}. {_WANTED}"
        )
    return canonical_png(flat)
