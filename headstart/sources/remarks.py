"""Remarks on images that are kept, but lose something on the way to the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from headstart._utils.tables import counted
from headstart.images.samples import DARK_BITS, SHOWN_BITS, Traits

_SHOWN = 5


def remarks(images: Mapping[str, Traits]) -> Iterator[str]:
    """Yield a text, with its next step, for each way in which images lose something.

    Parameters
    ----------
    images : mapping of str to Traits
        By path, of the images that are kept.
    """
    bits = {path: traits.bits for path, traits in images.items() if traits.bits is not None}
    # If all images leave the top bit unused, they come from a camera of fewer bits. In a mixed set,
    # those are named that are nearly black.
    one_camera = max(bits.values(), default=0) < 16
    least = 15 if one_camera else DARK_BITS
    if few := sorted(path for path, used in bits.items() if 0 < used <= least):
        most = max(bits[path] for path in few)
        yield (
            f"{_images(few, 'uses', 'use')} {most} of 16 bits at most (the largest value is below "
            f"{1 << most:,} of 65,536). The network gets the upper 8 of 16 bits: {_shades(most)} "
            f"of 256, nearly black{_cure(most, one_camera=one_camera)} the values, as docs/"
            f'your-images.md shows under "Images of 12 bits in 16": {_some(few)}'
        )
    if bands := sorted(path for path, traits in images.items() if traits.unused_bands):
        yield (
            f"{_images(bands, 'has', 'have')} bands beyond color and declared opacity, which are "
            "not used. If they matter, save the bands that you need as RGB; opacity is declared by "
            f"the TIFF tag ExtraSamples: {_some(bands)}"
        )
    if pages := sorted(path for path, traits in images.items() if traits.unused_pages):
        yield (
            f"{_images(pages, 'has', 'have')} more than one page, and only the first is used. To "
            f"use the others, save each page as a file: {_some(pages)}"
        )


def _cure(most: int, *, one_camera: bool) -> str:
    """Return the start of the remedy; the parameter holds for all images, so it is for one kind."""
    if not one_camera:
        return f". If their camera has {most} bits, stretch"
    bits = max(most, SHOWN_BITS)
    return (
        f", unless `backbone.gray16_bits` is set. If the camera has {bits} bits, set "
        f"`backbone.gray16_bits: {bits}` (it holds for gray images without opacity), or stretch"
    )


def _images(paths: Sequence[str], one: str, several: str) -> str:
    return counted(len(paths), f"image {one}", f"images {several}")


def _shades(bits: int) -> str:
    return counted(1 << max(bits - 8, 0), "shade")


def _some(paths: Sequence[str]) -> str:
    more = f", … and {len(paths) - _SHOWN:,} more" if len(paths) > _SHOWN else ""
    return ", ".join(paths[:_SHOWN]) + more + "."
