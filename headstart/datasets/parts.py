"""The number of files that the images of a data set are divided into, and the file of each.

The number is a power of two that grows with the set, and an image's part follows from its SHA-256:
where there are twice as many parts, each one was split in two, and nothing else has moved. A part
holds 512 images at the most on average. So a few new images change a few small files, whatever the
size of the set.
"""

from __future__ import annotations

#: The largest average number of images per part.
MOST = 512


def parts(images: int, whole: int, most: int | None = None) -> int:
    """Return the number of parts.

    Parameters
    ----------
    images : int
        Different images.
    whole : int
        Up to this number of images, there is one part.
    most : int, optional
        Images per part on average, at the most. Default: :data:`MOST`.
    """
    return 1 if images <= whole else at_least(images, 1, most)


def at_least(images: int, least: int, most: int | None = None) -> int:
    """Return the number of parts, from ``least``, which is a power of two."""
    count = least
    while images > count * (most or MOST):
        count *= 2
    return count


def part_of(image_id: str, count: int) -> int:
    """Return the part of an image, from the first 32 bits of its SHA-256."""
    return int(image_id[:8], 16) % count
