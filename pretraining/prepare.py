"""Decode Tiny ImageNet once: one array of pixels, one of labels.

Reads the public archive (``tiny-imagenet-200/train/WNID/images/*.JPEG``) or one of the same classes
without the folder ``images``. Only what lies under ``train`` is used.
"""

from __future__ import annotations

import re
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from headstart._utils.errors import HeadstartError, SourceError
from headstart._utils.files import atomic_file, sha256_file, write_json
from headstart._utils.progress import progress
from headstart._utils.seeds import derive
from headstart.downloads.client import DownloadError
from headstart.downloads.file import download_file
from headstart.features.npy import write_npy
from headstart.images.resize import pixels
from pretraining.settings import SourceParams, parse_paths, read_settings

_MEMBER = re.compile(
    r"(?:.*/)?train/(?P<label>n\d+)/(?:images/)?[^/]+\.(?:jpe?g|png|webp)", re.IGNORECASE
)


def members(names: list[str], per_class: int | None, seed: int) -> list[tuple[str, str]]:
    """Return (name, class) of the training images of an archive, sorted by name.

    Parameters
    ----------
    per_class : int or None
        At most so many of a class, chosen by a hash of seed and file name; None: all.
    """
    classes: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        if match := _MEMBER.fullmatch(name):
            classes[match["label"]].append(name)

    def drawn(name: str) -> int:
        return derive(seed, name.rsplit("/", 1)[-1])

    return sorted(
        (name, label)
        for label, found in classes.items()
        for name in sorted(found, key=drawn)[:per_class]
    )


def prepare(
    archive: Path, images: Path, labels: Path, classes: Path, source: SourceParams, seed: int
) -> None:
    """Write pixels, class indices and class names.

    Raises
    ------
    SourceError
        If the archive holds no training images.
    """
    with zipfile.ZipFile(archive) as file:
        found = members(file.namelist(), source.per_class, seed)
        if not found:
            raise SourceError(
                f"{archive} holds no images under train/nNNNNNNNN/: expected Tiny ImageNet's "
                "archive. See `source` in pretraining/params.yaml."
            )
        names = sorted({label for _, label in found})
        size = source.image_size
        contents = _contents(file, [name for name, _ in found])
        decoded = (pixels(content, size, gray16_bits=None) for content in contents)
        write_npy(images, len(found), (size, size, 3), "uint8", decoded)
    with atomic_file(labels) as out:
        index = {name: number for number, name in enumerate(names)}
        np.save(out, np.array([index[label] for _, label in found], np.int32))
    write_json(classes, names)


def _contents(file: zipfile.ZipFile, names: list[str]) -> Iterator[bytes]:
    with progress(len(names), "Decoding", "image") as bar:
        for name in names:
            yield file.read(name)
            bar.update()


def obtain(location: str, sha256: str | None, folder: Path) -> Path:
    """Return the archive's path; an address is downloaded into ``folder`` and kept there.

    Raises
    ------
    SourceError
        If it is absent or has another sha256.
    """
    path = Path(location)
    if location.startswith(("http://", "https://")):
        path = folder / location.rsplit("/", 1)[-1]
        if not path.is_file():
            try:
                download_file(location, path)
            except DownloadError as error:
                raise SourceError(
                    f"{location} could not be downloaded: {error}. Set `source.location` in "
                    "pretraining/params.yaml to a copy of the archive."
                ) from error
    if not path.is_file():
        raise SourceError(
            f"There is no archive at {path}. Set `source.location` in pretraining/params.yaml to "
            "the archive's URL or to a copy of it."
        )
    found = sha256_file(path) if sha256 else None
    if found != sha256:
        raise SourceError(f"{path} has sha256 {found}, expected {sha256}. Nothing was decoded.")
    return path


def main() -> None:
    """Read the options and the parameters, then prepare."""
    given = parse_paths("prepare", __doc__, "params", "downloads", "images", "labels", "classes")
    settings = read_settings(given.params)
    try:
        archive = obtain(settings.source.location, settings.source.sha256, given.downloads)
        prepare(archive, given.images, given.labels, given.classes, settings.source, settings.seed)
    except HeadstartError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
