"""Labeled images of an archive with one folder per class, and their cached features."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

import headstart as hs
from headstart._utils.errors import ImageError
from headstart._utils.files import sha256_bytes
from headstart.images.decode import Limits, inspect

Labels = npt.NDArray[np.int64]


def read(archive: Path, classes: int | None = None) -> tuple[list[bytes], Labels]:
    """Return the usable images, each content once, and their class indices.

    Parameters
    ----------
    archive : Path
        A zip file.
    classes : int, optional
        The first classes by name; default: all.
    """
    found: dict[str, tuple[str, bytes]] = {}
    with zipfile.ZipFile(archive) as opened:
        entries = [(PurePosixPath(name).parent.name, name) for name in opened.namelist()]
        entries = [entry for entry in entries if not entry[1].endswith("/")]
        names = sorted({label for label, _ in entries})[:classes]
        for label, name in sorted(entries):
            if label not in names:
                continue
            content = opened.read(name)
            try:
                inspect(content, Limits(min_side=32))
            except ImageError:
                continue
            found.setdefault(sha256_bytes(content), (label, content))
    ordered = [found[digest] for digest in sorted(found)]
    places = {label: place for place, label in enumerate(sorted({label for label, _ in ordered}))}
    labels = np.array([places[label] for label, _ in ordered])
    return [content for _, content in ordered], labels


def features(contents: list[bytes], backbone: str, size: int | None) -> npt.NDArray[np.float32]:
    """Return the features of images, which go through the backbone once."""
    return hs.FeatureExtractor(backbone, image_size=size).transform(contents)
