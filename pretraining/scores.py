r"""Measure a backbone's features on images that it never saw, by a linear probe.

    python -m pretraining.scores --images embedded cats-dogs.zip --image-size 64 \
        --backbone headstart-small --weights shipped --scores scores.csv

The backbone is frozen and the classifier is one dense layer. A source with predefined splits keeps
them (``test``, or else ``validation``, is scored); any other one is divided 80 to 20 by a hash of
each image's bytes. The layer's regularization is chosen on a fifth of the training images.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import HeadstartError, ImageError
from headstart._utils.files import sha256_bytes, write_text
from headstart._utils.seeds import uniform
from headstart.archives.members import ArchiveLimits
from headstart.images.resize import pixels
from headstart.sources.archive import ArchiveSource
from headstart.sources.embedded import EmbeddedSource
from headstart.sources.folder import FolderSource
from headstart.sources.folder_names import unwanted
from headstart.sources.layout import recognize
from headstart.sources.source import Assignment, Source
from pretraining.teacher import converted, maps

Floats = npt.NDArray[np.float32]

#: Columns of the file of scores.
COLUMNS = ("images", "backbone", "weights", "image_size", "train", "test", "accuracy")
_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
_MAX_TOTAL = 20_000_000_000


@dataclass(frozen=True)
class Probe:
    """Features and class names of the two parts."""

    train: Floats
    train_labels: list[str]
    test: Floats
    test_labels: list[str]


def open_source(name: str) -> Source:
    """Open ``embedded``, a folder or an archive."""
    if name == "embedded":
        return EmbeddedSource()
    path = Path(name)
    if path.is_dir():
        return FolderSource(path, _MAX_TOTAL)
    return ArchiveSource(path, None, ArchiveLimits(_MAX_TOTAL))


def read(
    source: Source, size: int, seed: int
) -> tuple[npt.NDArray[np.uint8], list[str], npt.NDArray[np.bool_]]:
    """Return pixels, labels, and which images are tested; unusable files are left out.

    Returns
    -------
    images : ndarray of shape (n, size, size, 3), uint8
    labels : list of str
    tested : ndarray of shape (n,), bool
        No image is tested that is trained on.
    """
    paths = [each.path for each in source.entries if not (each.rejection or unwanted(each.path))]
    layout = recognize(paths, None, source.origin)
    places = {path: layout.assign(path) for path in paths}
    wanted = {path: place for path, place in places.items() if isinstance(place, Assignment)}
    splits = {place.predefined_split for place in wanted.values()}
    scored = "test" if "test" in splits else "validation"
    # By content: an image that stands in both parts is only trained on.
    found: dict[str, tuple[npt.NDArray[np.uint8], str, bool]] = {}
    for path, content in source.contents(set(wanted)):
        if isinstance(content, ImageError):
            continue
        try:
            image = pixels(content, size, gray16_bits=None)
        except ImageError:
            continue
        key, place = sha256_bytes(content), wanted[path]
        tested = place.predefined_split == scored if layout.splits else uniform(seed, key) < 0.2
        if key not in found or not tested:
            found[key] = (image, place.label, tested)
    rows = [found[key] for key in sorted(found)]
    images, labels, marks = zip(*rows, strict=True)
    return np.stack(images), list(labels), np.array(marks)


def accuracy(probe: Probe) -> float:
    """Return the accuracy of a dense layer with softmax on the tested images."""
    from sklearn.model_selection import train_test_split

    mean, deviation = probe.train.mean(axis=0), probe.train.std(axis=0) + 1e-6
    train, test = (probe.train - mean) / deviation, (probe.test - mean) / deviation
    learned, chosen, learned_labels, chosen_labels = train_test_split(
        train, probe.train_labels, test_size=0.2, random_state=0, stratify=probe.train_labels
    )
    scores = [
        _fit(learned, learned_labels, strength).score(chosen, chosen_labels)
        for strength in _STRENGTHS
    ]
    best = _STRENGTHS[int(np.argmax(scores))]
    return float(_fit(train, probe.train_labels, best).score(test, probe.test_labels))


def _fit(features: Floats, labels: list[str], strength: float):  # type: ignore[no-untyped-def]  # noqa: ANN202 - scikit-learn has no types
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=2000).fit(features, labels)


def score(
    names: Iterable[str], backbone: str, alpha: float, weights: str, size: int, seed: int
) -> list[dict[str, str | int | float]]:
    """Return one row of :data:`COLUMNS` for each source."""
    network = converted(backbone, alpha, size, weights, seed, "avg")
    rows: list[dict[str, str | int | float]] = []
    for name in names:
        images, labels, tested = read(open_source(name), size, seed)
        found = np.concatenate(list(maps(images, network, size, os.cpu_count() or 1)))
        given = np.array(labels)
        probe = Probe(
            found[~tested], given[~tested].tolist(), found[tested], given[tested].tolist()
        )
        shown = backbone if alpha == 1 else f"{backbone} {alpha:g}"
        values = (
            Path(name).stem, shown, Path(weights).name, size,
            len(probe.train), len(probe.test), round(accuracy(probe), 4),
        )  # fmt: skip
        rows.append(dict(zip(COLUMNS, values, strict=True)))
        print(*values, sep="\t", flush=True)
    return rows


def main() -> None:
    """Read the options, score, and append the rows to the file."""
    options = argparse.ArgumentParser(
        prog="python -m pretraining.scores",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--images", nargs="+", required=True, help="embedded, archive or folder")
    options.add_argument("--backbone", default="headstart-small")
    options.add_argument("--alpha", type=float, default=1.0)
    options.add_argument("--weights", default="shipped", help="as in params.yaml")
    options.add_argument("--image-size", type=int, default=64)
    options.add_argument("--seed", type=int, default=42)
    options.add_argument("--scores", type=Path, help="CSV file that the rows are added to")
    given = options.parse_args()
    try:
        rows = score(
            given.images, given.backbone, given.alpha, given.weights, given.image_size, given.seed
        )
    except HeadstartError as error:
        sys.exit(f"Error: {error}")
    if given.scores:
        add(given.scores, rows)


def add(path: Path, rows: list[dict[str, str | int | float]]) -> None:
    """Add rows to a CSV file; a row of the same run takes the place of the old one."""
    lines = path.read_text(encoding="utf-8").splitlines()[1:] if path.is_file() else []
    kept = {tuple(line.split(",")[:4]): line for line in lines}
    for row in rows:
        cells = [str(row[column]) for column in COLUMNS]
        kept[tuple(cells[:4])] = ",".join(cells)
    write_text(path, "\n".join([",".join(COLUMNS), *sorted(kept.values())]) + "\n")


if __name__ == "__main__":
    main()
