from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.images.decode import Limits, inspect
from headstart.images.samples import Traits
from headstart.sources.remarks import remarks
from tests.images import kinds
from tests.images import made as make
from tests.images.made import pixels
from tests.stages.test_download import folder_of, run

PAGE = Path(__file__).parents[2] / "docs" / "your-images.md"


def said(**bits: int | None) -> list[str]:
    return list(remarks({path: Traits(used) for path, used in bits.items()}))


def test_images_that_lose_nothing_get_no_remark() -> None:
    assert not said(a=16, b=13, c=None, d=0)
    assert not said()


def test_all_images_that_leave_the_top_bit_unused_are_named() -> None:
    (text,) = said(a=12, b=9, c=0, d=None)
    assert text.startswith("2 images use 12 of 16 bits at most (the largest value is below 4,096 ")
    assert "16 shades of 256" in text
    assert text.endswith(": a, b.")
    assert said(a=15)[0].startswith("1 image uses 15 of 16 bits")
    for bits, named in ((7, 8), (12, 12), (15, 15)):  # the values that the parameter can have
        assert f"set `backbone.gray16_bits: {named}` (" in said(a=bits)[0]


def test_of_a_mixed_set_the_nearly_black_images_are_named() -> None:
    (text,) = said(a=16, b=13, c=12, d=7)
    assert text.startswith("2 images use 12 of 16 bits")
    assert text.endswith(": c, d.")
    assert "gray16_bits" not in text  # it would cut the other images


def test_the_first_five_are_named() -> None:
    (text,) = said(**dict.fromkeys("abcdefg", 12))
    assert text.endswith(": a, b, c, d, e, … and 2 more.")


def deep(kind: str, bits: int) -> bytes:
    values = np.arange(576, dtype=np.uint16).reshape(24, 24) & ((1 << bits) - 1)
    values[0, 0] = (1 << bits) - 1
    return make.encoded(Image.fromarray(values), kind)


@pytest.mark.parametrize("bits", [1, 8, 9, 12, 15, 16])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_the_bits_of_a_gray_image(kind: str, bits: int) -> None:
    assert inspect(deep(kind, bits), Limits()).traits == Traits(bits)


@pytest.mark.parametrize("color", [2, 4, 6])
def test_the_bits_of_colors_without_their_opacity(color: int) -> None:
    samples = kinds.random({2: 3, 4: 2, 6: 4}[color], 16)
    samples[..., : 3 if color != 4 else 1] >>= 4
    samples[..., 0] |= 0x800
    assert inspect(kinds.png_of(samples, color, 16), Limits()).traits == Traits(12)


@pytest.mark.parametrize(
    ("extra", "unused"),
    [(None, 1), ([0], 1), ([2], 0), ([0, 0], 2), ([2, 0], 1), ([1, 0, 0], 2)],
)
def test_bands_that_are_no_color_and_no_declared_opacity(
    extra: list[int] | None, unused: int
) -> None:
    channels = 3 + len(extra or [0])
    samples = kinds.random(channels, 8)
    tags = [] if extra is None else [(338, extra)]
    data = kinds.packed(samples, 8)
    content = kinds.tiff_of(data, [8] * channels, 2, "<", tags)
    assert inspect(content, Limits()).traits == Traits(None, unused)


def test_pages_are_counted_and_a_loop_of_pages_ends() -> None:
    pages = [make.noise(24, 24, seed) for seed in range(3)]
    content = make.encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert inspect(content, Limits()).traits == Traits(unused_pages=2)
    assert np.array_equal(pixels(content, 24), np.asarray(pages[0]))
    data = kinds.packed(kinds.random(1, 8), 8)
    looped = bytearray(kinds.tiff_of(data, [8], 1))
    place = 10 + 12 * int.from_bytes(looped[8:10], "little")
    looped[place : place + 4] = (8).to_bytes(4, "little")
    assert inspect(bytes(looped), Limits()).traits == Traits()


def test_the_stage_warns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {f"in/{label}/{n}.png": deep("PNG", 12) + bytes([n]) for label in "ab" for n in (1, 2)}
    pages = [make.noise(24, 24, seed) for seed in range(2)]
    scan = make.encoded(pages[0].convert("RGBA"), "TIFF", save_all=True, append_images=pages[1:])
    files["in/a/scan.tif"] = scan
    run(
        folder_of(files, tmp_path) / "in",
        tmp_path / "out",
        source="folder",
        formats=["png", "tiff"],
    )
    warned = capsys.readouterr().err
    assert "WARNING: 4 images use 12 of 16 bits at most" in warned
    assert "a/1.png, a/2.png, b/1.png, b/2.png." in warned
    assert "1 image has more than one page, and only the first is used" in warned
    assert "a/scan.tif." in warned


def test_the_code_of_the_page_stretches_the_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = PAGE.read_text(encoding="utf-8")
    (title,) = re.findall(r"^### (Images of 12 bits in 16)$", page, re.MULTILINE)
    assert title in said(a=12)[0]
    code = re.search(r"```python\n(.*?)```", page[page.index(title) :], re.DOTALL)
    assert code is not None
    folder_of({"a/1.png": deep("PNG", 12), "b/2.TIF": deep("TIFF", 12)}, tmp_path / "data" / "raw")
    monkeypatch.chdir(tmp_path)
    exec(compile(code[1], str(PAGE), "exec"), {})  # noqa: S102 - a page of ours
    found = sorted(os.fspath(path) for path in Path("data/stretched").rglob("*.png"))
    assert found == ["data/stretched/a/1.png", "data/stretched/b/2.png"]
    for path in found:
        content = Path(path).read_bytes()
        assert inspect(content, Limits()).traits == Traits(16)
        got = pixels(content, 24)[..., 0]
        assert got[0, 0] == 255
        assert got.ravel()[575] == 575 >> 4
