"""Near duplicates: recall by change and false pairs, beside pHash alone and features alone.

    python -m benchmarks.duplicates alien-vs-predator.zip --part -1
    python -m benchmarks.duplicates --synthetic 100000

Thresholds were chosen on images of cats-dogs, with other changes of them, and on random pairs of
fruits360-10. With ``--part 1`` (the default) only the other half of the images is used.

First the pairs among the images themselves are listed, with their groups, for a person to judge.
Then some images, drawn by each seed, are changed in each of nine ways, and each kind of change is
searched for among the originals by itself. A pair of a copy is "false" if its image is neither the
original nor in the original's group: where a set holds frames of one object, a copy of a frame
resembles the next one, too. "group" is the share of copies that are joined to that group, which is
what the split looks at. A true duplicate that was not found among the originals counts as false.

pHash: the signs of the 64 lowest frequencies of 32 × 32 gray pixels about their median; a pair has
at most 8 different bits. Features: those of the shipped small backbone; a pair has a cosine of a
threshold or more that is chosen on the set: one in a hundred originals has another one of another
group that near.
"""

from __future__ import annotations

import io
import resource
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
import typer
from PIL import Image, ImageEnhance
from scipy.fft import dctn

import headstart as hs
from headstart._utils.errors import ImageError
from headstart._utils.files import sha256_bytes
from headstart._utils.unions import united
from headstart.audit.candidates import Candidates, find_candidates
from headstart.audit.duplicates import Pairs, find_pairs, verify
from headstart.audit.thumbnails import SIDE, Small, reduced
from headstart.images.decode import Limits, inspect
from headstart.images.resize import pixels

Generator = np.random.Generator
_BITS = 8


def _cropped(image: Image.Image, share: float, random: Generator) -> Image.Image:
    width, height = (round(side * (1 - share)) for side in image.size)
    x = int(random.integers(0, image.width - width + 1))
    y = int(random.integers(0, image.height - height + 1))
    return image.crop((x, y, x + width, y + height))


def _turned(image: Image.Image, random: Generator) -> Image.Image:
    turns = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
    return image.transpose(turns[int(random.integers(3))])


CHANGES: dict[str, Callable[[Image.Image, Generator], Image.Image]] = {
    "JPEG, quality 50": lambda image, _: image,
    "half size": lambda image, _: image.resize((image.width // 2, image.height // 2)),
    "brightness ± 30 %": lambda image, random: ImageEnhance.Brightness(image).enhance(
        float(random.choice([0.7, 1.3]))
    ),
    "crop, 5 %": lambda image, random: _cropped(image, 0.05, random),
    "crop, 15 %": lambda image, random: _cropped(image, 0.15, random),
    "mirror": lambda image, _: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "turn, 90° to 270°": _turned,
    "turn, 10°": lambda image, random: image.rotate(
        float(random.choice([-10, 10])), Image.Resampling.BICUBIC
    ),
    "gray": lambda image, _: image.convert("L"),
}


def main(
    archive: Annotated[Path | None, typer.Argument(help="zip of images")] = None,
    part: Annotated[int, typer.Option(help="0 or 1; -1: all images")] = 1,
    classes: Annotated[int | None, typer.Option(help="only the first classes, by name")] = None,
    per_kind: Annotated[int, typer.Option(help="changed images per kind and seed; 0: none")] = 100,
    seeds: str = "42 43 44",
    similarity: float = 0.9,
    synthetic: Annotated[int, typer.Option(help="images of noise, for time and memory")] = 0,
) -> None:
    """Measure and print the table."""
    if synthetic:
        measure_synthetic(synthetic, similarity)
    if archive is None:
        return
    names, contents = read(archive, part, classes)
    with timed(f"{len(names):,} images decoded"):
        originals = thumbnails(contents)
    with timed("pairs among them, without a forward pass"):
        among = find_pairs(originals, similarity)
    groups = list_pairs(names, among)
    if not per_kind:
        return
    extractor = hs.FeatureExtractor()
    with timed("forward passes for the features alone"):
        features = Features.of(extractor.transform(contents), groups)
    randoms = [np.random.Generator(np.random.Philox(key=int(seed))) for seed in seeds.split()]
    count = min(per_kind, len(contents))
    chosen = [random.choice(len(contents), count, replace=False) for random in randoms]
    table: dict[str, list[list[float]]] = {}
    for kind, change in CHANGES.items():
        copies = [
            altered(contents[i], kind, change, random)
            for random, some in zip(randoms, chosen, strict=True)
            for i in some
        ]
        changed = thumbnails(copies)
        sides = (
            searched(originals, changed, np.concatenate(chosen), similarity),
            (hashes(changed)[:, None] != hashes(originals)[None]).sum(axis=2) <= _BITS,
            features.near(extractor.transform(copies)),
        )
        table[kind] = [
            [value for side in sides for value in judged(side[start : start + count], some, groups)]
            for start, some in zip(range(0, len(copies), count), chosen, strict=True)
        ]
    columns = "".join(
        f"{name:>10} {'group':>6} {'false':>6}" for name in ("search", "pHash", "features")
    )
    print(f"{'':20} {columns}   least of the seeds")
    for kind, rows in table.items():
        values = np.array(rows).reshape(len(rows), 3, 4).transpose(1, 0, 2)
        shown = "".join(
            f"{side[:, 0].mean():10.3f} {side[:, 1].mean():6.3f} "
            f"{side[:, 3].sum() / max(side[:, 2].sum(), 1):6.3f}"
            for side in values
        )
        print(f"{kind:20} {shown}   {values[0, :, 0].min():.3f}")


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print the seconds of a step."""
    started, used = time.perf_counter(), time.process_time()
    yield
    cpu = time.process_time() - used
    print(f"{what}: {time.perf_counter() - started:.1f} s ({cpu:.1f} s of CPU)", flush=True)


def list_pairs(names: list[str], among: Pairs) -> npt.NDArray[np.int64]:
    """Print the pairs and groups among the images; return the number of each image's group."""
    pairs = sorted(zip(among.similarity, among.first, among.second, among.kind, strict=True))
    print(f"{len(pairs):,} pairs; the nearest:")
    for near, first, second, kind in pairs[::-1][:20]:
        print(f"  {near:.3f} {kind}: {names[first]} – {names[second]}")
    group = np.arange(len(names))
    first_of = united(zip(among.first.tolist(), among.second.tolist(), strict=True))
    for member, first in first_of.items():
        group[member] = first
    sizes = np.bincount(group, minlength=1)
    labels = np.array([name.split("/")[-2] for name in names])
    mixed = [each for each in np.flatnonzero(sizes > 1) if len(set(labels[group == each])) > 1]
    print(
        f"{(sizes > 1).sum():,} groups with {sizes[sizes > 1].sum():,} images, the largest with "
        f"{sizes.max():,}; {len(mixed):,} with more than one class ({sizes[mixed].sum():,} images)"
    )
    return group


@dataclass(frozen=True)
class Features:
    """Features of length 1, and the cosine from which two images count as a pair."""

    values: npt.NDArray[np.float32]
    least: float

    @classmethod
    def of(cls, values: npt.NDArray[np.float32], groups: npt.NDArray[np.int64]) -> Self:
        """Choose the threshold on the originals."""
        unit = values / np.linalg.norm(values, axis=1, keepdims=True)
        nearest = []
        for start in range(0, len(unit), 1000):
            cosine = unit[start : start + 1000] @ unit.T
            cosine[groups[start : start + 1000, None] == groups] = -1
            nearest.append(cosine.max(axis=1))
        return cls(unit, float(np.quantile(np.concatenate(nearest), 0.99)))

    def near(self, copies: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        """Return which originals each copy is a pair with."""
        unit = copies / np.linalg.norm(copies, axis=1, keepdims=True)
        return np.asarray(unit @ self.values.T >= self.least)


def read(archive: Path, part: int, classes: int | None = None) -> tuple[list[str], list[bytes]]:
    """Return names and contents of the usable images of one part, each content once."""
    found: dict[str, tuple[str, bytes]] = {}
    with zipfile.ZipFile(archive) as opened:
        names = sorted(name for name in opened.namelist() if not name.endswith("/"))
        wanted = sorted({PurePosixPath(name).parent.name for name in names})[:classes]
        for name in names:
            if PurePosixPath(name).parent.name not in wanted:
                continue
            content = opened.read(name)
            try:
                inspect(content, Limits(min_side=32))
            except ImageError:
                continue
            digest = sha256_bytes(content)
            if part < 0 or int(digest[-1], 16) % 2 == part:
                found.setdefault(digest, (name, content))
    ordered = [found[digest] for digest in sorted(found)]
    return [name for name, _ in ordered], [content for _, content in ordered]


def thumbnails(contents: list[bytes]) -> Small:
    """Return the thumbnails of images."""
    parts = [reduced(pixels(content, SIDE, gray16_bits=None)) for content in contents]
    colors = np.stack([color for _, color in parts])
    return Small(np.stack([gray for gray, _ in parts]), colors[:, :2], colors[:, 2])


def altered(
    content: bytes,
    kind: str,
    change: Callable[[Image.Image, Generator], Image.Image],
    random: Generator,
) -> bytes:
    """Return a changed image as a JPEG."""
    stream = io.BytesIO()
    with Image.open(io.BytesIO(content)) as image:
        quality = 50 if kind.startswith("JPEG") else 90
        change(image.convert("RGB"), random).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def searched(
    originals: Small, changed: Small, sources: npt.NDArray[Any], similarity: float
) -> npt.NDArray[np.bool_]:
    """Return which originals each copy is a pair with, by the search of the stage.

    The stage keeps the pairs of an image that agree most, so all pairs of the copies and of their
    sources are compared. Other originals have fewer pairs here, and so keep more
    of those with copies.
    """
    count = len(originals.gray)
    both = Small(
        *(
            np.concatenate([getattr(each, name) for each in (originals, changed)])
            for name in ("gray", "color", "saturation")
        )
    )
    near = find_candidates(both.gray)
    complete = np.zeros(len(both.gray), bool)
    complete[sources] = complete[count:] = True
    wanted = complete[near.first] | complete[near.second]
    chosen = Candidates(near.first[wanted], near.second[wanted], near.view[wanted])
    found = verify(both, chosen, similarity)
    copies = (found.first < count) & (found.second >= count)
    pairs = np.zeros((len(changed.gray), count), bool)
    pairs[found.second[copies] - count, found.first[copies]] = True
    return pairs


def judged(
    pairs: npt.NDArray[np.bool_], sources: npt.NDArray[Any], groups: npt.NDArray[np.int64]
) -> tuple[float, ...]:
    """Return the recall of originals and of groups, and the number of pairs, all and false."""
    hits = pairs[np.arange(len(sources)), sources]
    other = groups[sources][:, None] != groups[None]
    joined = (pairs & ~other).any(axis=1)
    return float(hits.mean()), float(joined.mean()), int(pairs.sum()), int((pairs & other).sum())


def hashes(images: Small) -> npt.NDArray[np.bool_]:
    """Return pHash of images as 64 bits each."""
    gray = images.gray.astype(np.float64)
    means = gray.reshape(len(gray), 32, SIDE // 32, 32, SIDE // 32).mean(axis=(2, 4))
    low = dctn(means, axes=(1, 2))[:, :8, :8].reshape(len(gray), -1)
    return np.asarray(low > np.median(low, axis=1, keepdims=True))


def measure_synthetic(count: int, similarity: float) -> None:
    """Print seconds and memory for images of noise with the spectrum of photographs."""
    random = np.random.Generator(np.random.Philox(key=0))
    down, across = np.meshgrid(np.fft.fftfreq(SIDE), np.fft.rfftfreq(SIDE), indexing="ij")
    falling = 1 / np.maximum(np.hypot(down, across), 1 / SIDE)
    gray = np.empty((count, SIDE, SIDE), np.uint8)
    for start in range(0, count, 1000):
        noise = random.normal(size=(min(1000, count - start), SIDE, SIDE))
        bands = np.fft.irfft2(np.fft.rfft2(noise) * falling)
        gray[start : start + 1000] = np.clip(128 + 45 * bands / bands.std(), 0, 255)
    copies = min(100, count // 2)
    gray[-copies:] = gray[:copies, :, ::-1]
    started, used = time.perf_counter(), time.process_time()
    found = find_pairs(Small(gray, np.zeros((count, 2)), np.zeros(count)), similarity)
    planted = {(each, count - copies + each) for each in range(copies)}
    right = planted & set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{count:,} synthetic images: {time.perf_counter() - started:.0f} s "
        f"({time.process_time() - used:.0f} s of CPU), {peak:,.0f} MiB; {len(right)} of {copies} "
        f"mirrored copies found, {len(found) - len(right):,} other pairs"
    )


if __name__ == "__main__":
    typer.run(main)
