"""Classes that differ in kind rather than in content, such as masks and photographs.

A model tells them apart by the kind of their files, and its scores say nothing of their content.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from headstart._utils.errors import ImageError
from headstart._utils.tables import listed, plain
from headstart.images.decode import INSPECTED, ImageInfo, load, opened

#: Images of each class whose colors are counted.
PROBES = 20
# A mask has a color per thing that it marks; a photograph of this size has hundreds.
_FEW = 64
_ENOUGH_PIXELS = 16 * _FEW
_EXACT = {"png", "gif", "bmp", "tiff"}  # JPEG and its like blur the edges of a mask


def has_few_colors(content: bytes, info: ImageInfo) -> bool:
    """Return whether an inspected image has as few colors as masks and drawings have."""
    if info.format not in _EXACT or info.width * info.height < _ENOUGH_PIXELS:
        return False
    try:
        with opened(content, info.format, INSPECTED) as image:
            load(image, content, info.format)
            return image.mode[0] != "I" and image.getcolors(_FEW) is not None
    except (ImageError, ValueError):  # it was decoded before; what cannot be counted is not few
        return False


def differences(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each way in which classes differ in kind.

    Parameters
    ----------
    rows : iterable of mapping
        ``label``, ``format`` and ``few`` of each image: whether it has few colors; None for one
        that was not probed.
    """
    formats: defaultdict[str, set[str]] = defaultdict(set)
    few: defaultdict[str, set[bool]] = defaultdict(set)
    for row in rows:
        formats[row["label"]].add(row["format"])
        if row["few"] is not None:
            few[row["label"]].add(row["few"])
    flat = sorted(label for label, found in few.items() if found == {True})
    rich = [label for label, found in few.items() if found == {False}]
    alone = sorted(
        label
        for label, own in formats.items()
        if not any(own & others for other, others in formats.items() if other != label)
    )
    found = []
    if flat and rich:
        found.append(
            f"{_classes(flat)} only images of {_FEW} colors or fewer, as masks and drawings have, "
            f"and {_classes(rich)} none of these. A model can tell them apart without their "
            "content. If they are masks, `download.root` names the folder that holds the classes."
        )
    if len(formats) > 1 and alone:
        stated = ", ".join(f"{plain(label)}: {listed(sorted(formats[label]))}" for label in alone)
        found.append(
            f"Classes with file formats that no other class has ({stated}): a model may learn the "
            "traces of the format instead of the content. Convert all images to one format."
        )
    return found


def _classes(labels: list[str]) -> str:
    named = listed([plain(label) for label in sorted(labels)])
    return f"the class {named} has" if len(labels) == 1 else f"the classes {named} have"
