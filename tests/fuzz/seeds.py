"""Small valid inputs of every kind, made in code; each is mutated many times."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
from PIL import Image

from tests.archives.made import make_tar, make_zip
from tests.conftest import ROOT, shared_folder
from tests.images.made import animation, encoded, noise, turned

#: Larger cases would make the fuzzing slow.
_MOST_BYTES = 100_000
_WIDTH, _HEIGHT = 24, 16
#: What files of ../shared/cases are inputs for, by their endings.
_CASES = {"image": (".png", ".tif", ".jpg"), "zip": (".zip",), "table": (".csv", ".parquet")}


@cache
def seeds() -> Mapping[str, Sequence[tuple[str, bytes]]]:
    """Return name and content of the valid inputs of each target."""
    made = {
        "image": _images(),
        "zip": _zips(),
        "tar": _tars(),
        "table": _tables(),
        "parameters": _parameters(),
    }
    return {target: [*inputs, *_cases(target)] for target, inputs in made.items()}


def _cases(target: str) -> list[tuple[str, bytes]]:
    endings = _CASES.get(target, ())
    files = sorted(
        p for p in (shared_folder() / "cases").rglob("*") if p.suffix in endings and p.is_file()
    )
    found = {file.read_bytes(): file.name for file in files if file.stat().st_size <= _MOST_BYTES}
    return [(name, content) for content, name in found.items()]


def _images() -> list[tuple[str, bytes]]:
    color = noise(_WIDTH, _HEIGHT)
    gray, palette = color.convert("L"), color.quantize(16)
    deep = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    return [
        ("jpeg", encoded(color, "JPEG")),
        ("jpeg, progressive", encoded(color, "JPEG", progressive=True)),
        ("jpeg, gray", encoded(gray, "JPEG")),
        ("jpeg, CMYK", encoded(color.convert("CMYK"), "JPEG")),
        ("jpeg, turned", turned(6)),
        ("png", encoded(color, "PNG")),
        ("png, alpha", encoded(color.convert("RGBA"), "PNG")),
        ("png, palette", encoded(palette, "PNG", transparency=3)),
        ("png, gray 16", encoded(deep, "PNG")),
        ("png, gray tRNS", encoded(gray, "PNG", transparency=7)),
        ("png, turned", turned(5, "PNG")),
        ("webp", encoded(color, "WEBP")),
        ("webp, lossless", encoded(color.convert("RGBA"), "WEBP", lossless=True)),
        ("webp, animated", animation("WEBP")),
        ("gif", encoded(palette, "GIF")),
        ("gif, animated", animation("GIF")),
        ("bmp", encoded(color, "BMP")),
        ("bmp, palette", encoded(palette, "BMP")),
        ("tiff", encoded(color, "TIFF")),
        ("tiff, deflate", encoded(color, "TIFF", compression="tiff_adobe_deflate")),
        ("tiff, LZW", encoded(palette, "TIFF", compression="tiff_lzw")),
        ("tiff, gray 16", encoded(deep, "TIFF")),
        ("tiff, JPEG", encoded(color, "TIFF", compression="jpeg")),
        ("avif", encoded(color, "AVIF", speed=10)),
    ]


_FILES = {
    f"pets/{label}/{number}.jpg": b"\xff\xd8\xff" + bytes(50) * (number + 1)
    for label in ("cat", "dog\N{LATIN SMALL LETTER E WITH ACUTE}")
    for number in range(2)
}


def _zips() -> list[tuple[str, bytes]]:
    return [
        ("zip, stored", _written(lambda path: make_zip(path, _FILES))),
        ("zip, deflated", _written(lambda path: make_zip(path, _FILES, zipfile.ZIP_DEFLATED))),
    ]


def _tars() -> list[tuple[str, bytes]]:
    return [
        (f"tar, {mode}", _written(partial(make_tar, files=_FILES, mode=mode)))
        for mode in ("w", "w:gz", "w:bz2", "w:xz")
    ]


def _written(make: Callable[[Path], Path]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return make(Path(folder) / "archive").read_bytes()


def _tables() -> list[tuple[str, bytes]]:
    import pandas as pd

    frame = pd.DataFrame(
        {"file": [f"a/{n}.jpg" for n in range(6)], "label": ["cat", "dog, big", 'a "b"'] * 2}
    )
    parquet = io.BytesIO()
    frame.to_parquet(parquet)
    text = frame.to_csv(index=False)
    return [
        ("csv", text.encode()),
        ("csv, quoted lines", text.replace("dog, big", "dog\nbig").encode("utf-8-sig")),
        ("tsv", frame.to_csv(index=False, sep="\t").encode()),
        ("parquet", parquet.getvalue()),
    ]


def _parameters() -> list[tuple[str, bytes]]:
    """Return params.yaml without comments, its sections by themselves, and YAML's finer parts.

    The whole file takes a tenth of a second, so that most inputs are made from a section.
    """
    lines = [line for line in (ROOT / "params.yaml").read_text().splitlines() if line.strip()]
    bare = [line for line in lines if not line.lstrip().startswith("#")]
    sections: list[list[str]] = []
    for line in bare:
        if not line.startswith(" "):
            sections.append([])
        sections[-1].append(line)
    found = [(each[0].rstrip(": "), "\n".join([*each, ""]).encode()) for each in sections]
    finer = "seed: &a 1\ngate: {min_accuracy: *a, <<: {x: 2020-01-01}}\nsample: !!set {? 1}\n"
    found.append(("params.yaml", "\n".join([*bare, ""]).encode()))
    return [*found, ("YAML", (finer + "split: |\n  text\nexport: [0x1, 1e3, .inf]\n").encode())]
