"""The code of the exported README reads an image as training does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from headstart.export.pages import readme
from headstart.images import resize
from tests.export.test_record import model
from tests.images import kinds
from tests.images import made as make
from tests.images.made import pixels

SIZE = 32
TURNED = range(1, 9)
TURNING = ("JPEG", "PNG", "WEBP", "AVIF")


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], Any]:
    return reading_of(tmp_path_factory.mktemp("export"), None)


def reading_of(folder: Path, gray16_bits: int | None) -> Callable[[bytes], Any]:
    """Run the first block of the README, and return its function, from the bytes of a file."""
    (folder / "labels.json").write_text(json.dumps(["a", "b"]))
    (folder / "image.jpg").write_bytes(make.jpeg())
    plain = model(folder)
    backbone = plain.backbone.model_copy(update={"gray16_bits": gray16_bits})
    exported = plain.model_copy(update={"image_size": SIZE, "backbone": backbone})
    page = readme(exported, {"formats": {}, "images": 1, "refused": 0}, ["it differs"])
    code = re.search("```python\n(import json.*?)```", page, re.DOTALL)
    assert code is not None
    found: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(code[1], "README.md", "exec"), found)  # noqa: S102 - a page of ours
    assert np.array_equal(found["pixels"], pixels(make.jpeg(), SIZE)[None])

    def reading(content: bytes) -> Any:
        (folder / "other").write_bytes(content)
        return found["read"](folder / "other")

    return reading


def of_kind(made: Callable[[], kinds.Kind]) -> bytes:
    return made().content


def deep() -> bytes:
    return make.gray16(np.random.Generator(np.random.Philox(3)).integers(0, 65536, (40, 60), "u2"))


def clear() -> Image.Image:
    image = make.noise(61, 43)
    image.putalpha(make.noise(61, 43, 1).convert("L"))
    return image


FILES: dict[str, Callable[[], bytes]] = {
    **{f"PNG: {kind}": partial(of_kind, made) for kind, made in kinds.PNG.items()},
    **{f"BMP: {kind}": partial(of_kind, made) for kind, made in kinds.BMP.items()},
    "gray of 16 bits": deep,
    **{
        f"{kind} with alpha": partial(make.encoded, clear(), kind)
        for kind in ("PNG", "WEBP", "AVIF")
    },
    **{f"{kind}, first of two": partial(make.animation, kind) for kind in ("GIF", "WEBP", "AVIF")},
    **{
        f"JPEG in {mode}": partial(make.encoded, make.noise(90, 70).convert(mode), "JPEG")
        for mode in ("L", "RGB", "CMYK")
    },
    **{f"JPEG of {side} pixels": partial(make.jpeg, side, side - 7) for side in (9, 399, 1001)},
    **{f"turned {n}, {kind}": partial(make.turned, n, kind) for n in TURNED for kind in TURNING},
}


@pytest.mark.parametrize("name", FILES)
def test_the_readme_reads_what_training_reads(name: str, read: Callable[[bytes], Any]) -> None:
    content = FILES[name]()
    if "RGB, 16 bits, tRNS" in name:
        with pytest.raises(ValueError, match="save it as RGBA"):
            read(content)
        return
    assert np.array_equal(read(content), pixels(content, SIZE))


def test_the_readme_spreads_the_bits_of_the_camera(tmp_path: Path) -> None:
    read = reading_of(tmp_path, 12)
    for name, made in FILES.items():
        if "RGB, 16 bits, tRNS" not in name:
            content = made()
            expected = resize.pixels(content, SIZE, gray16_bits=12)
            assert np.array_equal(read(content), expected), name
    assert not np.array_equal(read(deep()), pixels(deep(), SIZE))


def test_the_readme_reads_no_tiff(read: Callable[[bytes], Any]) -> None:
    with pytest.raises(UnidentifiedImageError):
        read(make.encoded(make.noise(), "TIFF"))
