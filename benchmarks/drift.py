"""Measure how often `headstart drift` notices changed images, and how often it is wrong.

    python -m benchmarks.drift ARCHIVE… [--classes N] [--draws 70] [--seeds '1 2 3']

For each seed, half of the images train a head. The others are dealt, draw after draw, into those
that the run holds out and new ones. New images are given as they are (false alarms), or brighter by
a quarter, blurred, from another camera (half the size, JPEG quality 60), or with a fifth of them of
classes that the run does not know (a tenth of the classes; with three or more).

The table shows the share of draws with p ≤ 0.01 and p ≤ 0.05. Features are computed once per image
and kept in the feature store.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from PIL import Image, ImageEnhance, ImageFilter

import headstart as hs
from benchmarks.images import Labels, features, read
from headstart.audit.vectors import Float64
from headstart.incoming import alike

HELD_OUT = 1000
CHANGES = ("none", "brighter", "blurred", "another camera", "new class")
LEVELS = (0.01, 0.05)
_MEASURED = alike.measured


def changed(content: bytes, change: str) -> bytes:
    """Return a changed image as a JPEG of the quality of a camera."""
    stream = io.BytesIO()
    with Image.open(io.BytesIO(content)) as opened:
        image, quality = opened.convert("RGB"), 95
    if change == "brighter":
        image = ImageEnhance.Brightness(image).enhance(1.25)
    elif change == "blurred":
        image = image.filter(ImageFilter.GaussianBlur(max(image.size) / 150))
    elif change == "another camera":
        size = (max(image.width // 2, 1), max(image.height // 2, 1))
        image, quality = image.resize(size, Image.Resampling.LANCZOS), 60
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


@dataclass(frozen=True)
class Backbone:
    """The bits of gray of a backbone's record."""

    gray16_bits: None = None


@dataclass
class Run:
    """What :func:`headstart.incoming.alike.judge` needs of a run."""

    train: npt.NDArray[np.float32]
    labels: Labels
    head: Any
    backbone: Backbone = field(default_factory=Backbone)

    @property
    def classes(self) -> list[str]:
        """The classes of the head."""
        return [str(name) for name in self.head.classes_]

    def training(self, _: int) -> tuple[npt.NDArray[np.float32], Labels]:
        """Return the features and classes of training images."""
        return self.train[: alike.MOST], self.labels[: alike.MOST]

    def probabilities(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the head's probabilities."""
        found: npt.NDArray[np.float32] = self.head.predict_proba(values)
        return found


def main(
    archives: list[Path],
    classes: int | None = None,
    images: Annotated[int, typer.Option(help="images used of each archive")] = 2400,
    backbone: str = "headstart-small",
    image_size: int | None = None,
    sizes: str = "100 500",
    draws: Annotated[int, typer.Option(help="draws without a change, per seed and size")] = 70,
    changed_draws: int = 10,
    seeds: str = "1 2 3",
) -> None:
    """Print a table per archive."""
    alike.measured = _looked_up  # type: ignore[assignment]
    for archive in archives:
        contents, labels = read(archive, classes)
        chosen = np.random.default_rng(0).permutation(len(contents))[:images]
        originals = [contents[row] for row in chosen]
        found: dict[tuple[str, int], list[float]] = {}
        ready = {
            change: prepared([changed(c, change) for c in originals], backbone, image_size)
            for change in CHANGES[:4]
        }
        for seed in map(int, seeds.split()):
            for size in map(int, sizes.split()):
                for change in CHANGES:
                    count = draws if change == "none" else changed_draws
                    found.setdefault((change, size), []).extend(
                        measure(ready, labels[chosen], change, size, count, seed)
                    )
        report(archive.stem, found)


def prepared(
    files: list[bytes], backbone: str, size: int | None
) -> tuple[npt.NDArray[np.float32], dict[str, Float64]]:
    """Return features and simple statistics of images."""
    return features(files, backbone, size), _MEASURED(files, None)


def measure(
    ready: dict[str, Any], labels: Labels, change: str, size: int, draws: int, seed: int
) -> list[float]:
    """Return the p of some draws; none if the archive has too few images or classes."""
    random = np.random.default_rng((seed, size))
    order = random.permutation(len(labels))
    count = len(set(labels))
    unknown = max(1, count // 10) if change == "new class" else 0
    known = labels < count - unknown
    train, rest = np.split(order, [len(order) // 2])
    train, strange = train[known[train]], rest[~known[rest]]
    rest = rest[known[rest]]
    values, statistics = ready["none"]
    if len(set(labels[train])) < 2 or len(rest) < 2 * size:
        return []
    head = hs.HeadClassifier(random_state=seed).fit(values[train], labels[train])
    run = Run(values[train], labels[train], head)
    found = []
    for draw in range(draws):
        mixed = random.permutation(rest)
        new, held = mixed[:size], mixed[size : size + HELD_OUT]
        if change == "new class":
            others = random.choice(strange, min(size // 5, len(strange)), replace=False)
            new = np.concatenate([new[len(others) :], others])
        theirs, shown = ready["none" if change == "new class" else change]
        known_side = _side(values[held], statistics, held)
        found.append(_judge(run, known_side, _side(theirs[new], shown, new), seed * 1000 + draw))
    return found


def _side(values: npt.NDArray[np.float32], statistics: dict[str, Float64], rows: Labels) -> Any:
    """Return images whose files are their rows, which `_judge` looks up."""
    files: Any = [(statistics, row) for row in rows]
    return alike.Images(values, files)


def _judge(run: Run, known: alike.Images, new: alike.Images, seed: int) -> float:
    verdict, _, _ = alike.judge(run, known, new, seed)  # type: ignore[arg-type]
    return verdict.p


def _looked_up(files: Any, _: None) -> dict[str, Float64]:
    """Return the statistics that were computed once per image, instead of decoding it again."""
    rows = list(files)
    return {name: np.array([table[name][row] for table, row in rows]) for name in rows[0][0]}


def report(name: str, found: dict[tuple[str, int], list[float]]) -> None:
    """Print the share of draws with a small p."""
    print(
        f"{name}\n{'change':16}{'images':>7}{'draws':>7}" + "".join(f"  p ≤ {x:<5}" for x in LEVELS)
    )
    for (change, size), values in found.items():
        if values:
            shares = (float(np.mean(np.array(values) <= level)) for level in LEVELS)
            print(f"{change:16}{size:7}{len(values):7}" + "".join(f"{x:9.3f}" for x in shares))
    print(flush=True)


if __name__ == "__main__":
    typer.run(main)
