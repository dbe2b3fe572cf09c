"""Near duplicates: recall per kind of change and false pairs, beside a perceptual hash.

    python -m benchmarks.duplicates alien-vs-predator.zip --part -1
    python -m benchmarks.duplicates --synthetic 100000

Thresholds were chosen on images of cats-dogs, with other changes of them, and on random pairs of
fruits360-10, so the fair sets are others. For each seed, some images are changed in each of nine
ways, and each kind of change is searched for among the originals by itself. A "false" pair is one
between a copy and another image than its original, so it includes the true duplicates that a set
has; pairs among the originals are listed, for a person to judge.
The hash is pHash: the signs of the 64 lowest frequencies of 32 × 32 gray pixels about their
median; a pair has at most 8 different bits.
"""

from __future__ import annotations

import io
import resource
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from PIL import Image, ImageEnhance
from scipy.fft import dctn

from headstart._utils.errors import ImageError
from headstart._utils.files import sha256_bytes
from headstart.audit.candidates import Candidates, find_candidates
from headstart.audit.duplicates import find_pairs, verify
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
    per_kind: Annotated[int, typer.Option(help="changed images per kind and seed")] = 100,
    seeds: str = "42 43 44",
    similarity: float = 0.9,
    synthetic: Annotated[int, typer.Option(help="images of noise, for time and memory")] = 0,
) -> None:
    """Measure and print the table."""
    if synthetic:
        measure_synthetic(synthetic, similarity)
    if archive is None:
        return
    names, contents = read(archive, part)
    started = time.perf_counter()
    originals = thumbnails(contents)
    print(f"{len(names):,} images decoded in {time.perf_counter() - started:.1f} s")
    started, used = time.perf_counter(), time.process_time()
    among = find_pairs(originals, similarity)
    print(
        f"{len(among):,} pairs among them in {time.perf_counter() - started:.1f} s "
        f"({time.process_time() - used:.1f} s of CPU)"
    )
    pairs = sorted(zip(among.similarity, among.first, among.second, among.kind, strict=True))
    for near, first, second, kind in pairs[::-1][:20]:
        print(f"  {near:.3f} {kind}: {names[first]} – {names[second]}")
    table: dict[str, list[tuple[float, ...]]] = {kind: [] for kind in CHANGES}
    for seed in map(int, seeds.split()):
        random = np.random.Generator(np.random.Philox(key=seed))
        chosen = random.choice(len(contents), min(per_kind, len(contents)), replace=False)
        for kind, change in CHANGES.items():
            changed = thumbnails([altered(contents[i], kind, change, random) for i in chosen])
            table[kind].append(compared(originals, changed, chosen, similarity))
    print(f"{'':20} {'recall (least of seeds)':>24} {'false':>7} {'pHash':>7} {'false':>7}")
    for kind, rows in table.items():
        recall, found, false, hashed, hash_found, hash_false = np.array(rows).T
        print(
            f"{kind:20} {recall.mean():16.3f} ({recall.min():.3f}) "
            f"{false.sum() / max(found.sum(), 1):7.3f} {hashed.mean():7.3f} "
            f"{hash_false.sum() / max(hash_found.sum(), 1):7.3f}"
        )


def read(archive: Path, part: int) -> tuple[list[str], list[bytes]]:
    """Return names and contents of the usable images of one part, each content once."""
    found: dict[str, tuple[str, bytes]] = {}
    with zipfile.ZipFile(archive) as opened:
        for name in sorted(opened.namelist()):
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


def compared(
    originals: Small, changed: Small, sources: npt.NDArray[Any], similarity: float
) -> tuple[float, ...]:
    """Return recall, pairs with a copy and false ones of them, and the same of pHash."""
    count = len(originals.gray)
    both = Small(
        *(
            np.concatenate([getattr(each, name) for each in (originals, changed)])
            for name in ("gray", "color", "saturation")
        )
    )
    near = find_candidates(both.gray)
    wanted = (near.first < count) & (near.second >= count) | (near.first >= count)
    chosen = Candidates(near.first[wanted], near.second[wanted], near.view[wanted])
    found = verify(both, chosen, similarity)  # originals among themselves are compared once
    copies = (found.first < count) & (found.second >= count)
    right = found.first[copies] == sources[found.second[copies] - count]
    distance = (hashes(changed)[:, None] != hashes(originals)[None]).sum(axis=2)
    alike = distance <= _BITS
    hits = alike[np.arange(len(sources)), sources]
    return (
        right.sum() / len(sources), copies.sum(), (~right).sum(),
        hits.mean(), alike.sum(), alike.sum() - hits.sum(),
    )  # fmt: skip


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
