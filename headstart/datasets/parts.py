"""The number of files that the images of a data set are divided into, and the file of each.

The number is a power of two that grows with the set, and an image's part follows from its SHA-256:
where there are twice as many parts, each one was split in two, and nothing else has moved. Up to
256 parts, a part holds 512 images at the most on average, so that a few new images change a few
small files. Beyond, four times as many images make twice as many parts, each twice as large: DVC
takes time for every file, and a million images are in 1,024.
"""

from __future__ import annotations

#: The largest average number of images per part, of up to :data:`FEW` parts.
MOST = 512
FEW = 256


def parts(images: int, whole: int, most: int | None = None) -> int:
    """Return the number of parts.

    Parameters
    ----------
    images : int
        Different images.
    whole : int
        Up to this number of images, there is one part.
    most : int, optional
        Images per part on average, at the most, of up to :data:`FEW` parts. Default: :data:`MOST`.
    """
    return 1 if images <= whole else at_least(images, 1, most)


def at_least(images: int, least: int, most: int | None = None) -> int:
    """Return the number of parts, from ``least``, which is a power of two."""
    count = least
    while images > count * (most or MOST) * max(1, count // FEW):
        count *= 2
    return count


def part_of(image_id: str, count: int) -> int:
    """Return the part of an image, from the first 32 bits of its SHA-256."""
    return int(image_id[:8], 16) % count
