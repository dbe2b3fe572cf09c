"""Images that need more bits than `backbone.gray16_bits`: counted where they are decoded."""

from __future__ import annotations

import threading

import pandas as pd

from headstart._utils.files import sha256_bytes
from headstart._utils.tables import counted, listed, plain
from headstart._utils.workers import Call, call_here
from headstart.features.forward_passes import Pixels
from headstart.images.dark import unfit_depth
from headstart.images.decode import INSPECTED
from headstart.images.resize import pixels

_SHOWN = 5


def decoded(content: bytes, size: int, gray16_bits: int | None) -> tuple[Pixels, int | None]:
    """Decode and resize an image; also return the bits that it needs, if its values are cut."""
    depth = None if gray16_bits is None else unfit_depth(content, INSPECTED, gray16_bits)
    bits = depth.bits if depth is not None and depth.cut else None
    return pixels(content, size, gray16_bits=gray16_bits), bits


class CutImages:
    """A decoder that records the images whose values above white are cut to it.

    Parameters
    ----------
    call : callable, optional
        Calls a function with arguments, where images are to be decoded: see
        :func:`headstart._utils.workers.calling`. Default: in the thread that asks.

    Attributes
    ----------
    bits : dict of str to int
        The bits that an image needs, by its ``image_id``.
    """

    def __init__(self, call: Call = call_here) -> None:
        self.bits: dict[str, int] = {}
        self._call = call
        self._lock = threading.Lock()

    def __call__(self, content: bytes, size: int, /, *, gray16_bits: int | None) -> Pixels:
        """Decode and resize an image; called from several threads."""
        found: Pixels
        found, bits = self._call(decoded, content, size, gray16_bits)
        if bits is not None:
            with self._lock:
                self.bits[sha256_bytes(content)] = bits
        return found

    def warning(self, rows: pd.DataFrame, gray16_bits: int | None) -> str:
        """Return a warning about them, with the paths of a manifest; "" if there are none."""
        if not self.bits or gray16_bits is None:
            return ""
        most = max(self.bits.values())
        need = counted(len(self.bits), "image needs", "images need")
        known = rows[rows["image_id"].isin(self.bits)].drop_duplicates("image_id")
        paths = sorted(plain(str(path)) for path in known["path"])
        cure = (
            "remove the parameter (`backbone.gray16_bits: null`)"
            if most == 16
            else f"set `backbone.gray16_bits: {most}`"
        )
        return (
            f"Warning: {need} up to {most} bits, and `backbone.gray16_bits` is {gray16_bits}: the "
            f"values above {(1 << gray16_bits) - 1:,} are white. Unless these are defects of the "
            f"camera, {cure} and run again: {listed(paths, most=_SHOWN)}."
        )
