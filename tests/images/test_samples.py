from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from headstart._utils.errors import ImageError
from headstart.images.decode import MODES, Limits, inspect
from tests.images import kinds
from tests.images import made as make
from tests.images.made import pixels

ALL = {
    f"{name}: {kind}": made
    for name, table in (("PNG", kinds.PNG), ("TIFF", kinds.TIFF), ("BMP", kinds.BMP))
    for kind, made in table.items()
}


@pytest.mark.parametrize("kind", ALL)
def test_every_kind_of_samples_is_read_as_its_format_says(kind: str) -> None:
    content, expected = ALL[kind]()
    inspect(content, Limits())
    assert np.array_equal(pixels(content, kinds.SIDE), expected)


def test_the_table_covers_every_kind_of_png_that_pillow_reads() -> None:
    written = {(content[24], content[25]) for content, _ in (made() for made in kinds.PNG.values())}
    assert written == set(PngImagePlugin._MODES)


# Kinds of TIFF that Pillow opens in an accepted mode, and that the table leaves out, each because
# its twin is in the table: bits in reverse order, further unused samples, CMYK, JPEG inside.
TWINS = (
    lambda photometric, fill, bits, extra: fill == 2,
    lambda photometric, fill, bits, extra: 1 in extra or 999 in extra or len(extra) == 3,
    lambda photometric, fill, bits, extra: photometric in (5, 6, 3) and len(bits) > 0,
)


def test_the_table_covers_the_kinds_of_tiff_that_pillow_reads() -> None:
    written = set()
    for made in kinds.TIFF.values():
        with Image.open(io.BytesIO(made().content)) as image:
            assert isinstance(image, TiffImagePlugin.TiffImageFile)
            tags = image.tag_v2
            bits, extra = tags[258], tags.get(338, ())
            assert isinstance(bits, tuple)
            assert isinstance(extra, tuple)
            written.add((tags.prefix, tags[262], (1,), 1, bits, extra))
    missing = {
        key
        for key, (mode, _) in TiffImagePlugin.OPEN_INFO.items()
        if mode in MODES and key[2] == (1,) and key not in written
        and not any(twin(key[1], *key[3:]) for twin in TWINS)
    }  # fmt: skip
    assert missing == {(b"MM", 1, (1,), 1, (12,), ())} & set(TiffImagePlugin.OPEN_INFO)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate"])
def test_a_compressed_16_bit_tiff_whose_zero_is_white(compression: str) -> None:
    values = np.arange(576, dtype=np.uint16).reshape(24, 24) * 100
    content = make.encoded(
        Image.fromarray(values), "TIFF", compression=compression, tiffinfo={262: 0}
    )
    assert np.array_equal(pixels(content, 24)[..., 0], (65535 - values) >> 8)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_a_text_named_transparency_is_no_transparency(mode: str, after: bool) -> None:
    image = make.noise(24, 24).convert("L" if mode == "I;16" else mode)
    text = PngImagePlugin.PngInfo()
    for name in ("transparency", "icc_profile", "gamma", "interlace"):
        text.add(b"tEXt", name.encode() + b"\0" + b"4", after_idat=after)
    plain = image if mode != "I;16" else Image.fromarray(np.asarray(image).astype(np.uint16) * 256)
    assert np.array_equal(
        pixels(make.encoded(plain, "PNG", pnginfo=text), 24), pixels(make.encoded(plain, "PNG"), 24)
    )


@pytest.mark.parametrize(("color", "bits"), [(0, 1), (0, 2), (0, 4), (0, 8), (2, 8)])
def test_the_upper_bits_of_a_transparent_value_do_not_count(color: int, bits: int) -> None:
    samples = kinds.random(3 if color else 1, bits)
    key = [int(value) | 0xFF00 for value in samples[0, 0]]
    with_key = kinds.png_of(samples, color, bits, [(b"tRNS", struct.pack(f">{len(key)}H", *key))])
    assert (pixels(with_key, kinds.SIDE)[0, 0] == 255).all()


def test_more_opacities_than_a_palette_has_colors_are_ignored() -> None:
    samples = kinds.random(1, 8)
    content = kinds.png_of(samples, 3, 8, [(b"tRNS", b"\xff" * 300)])
    assert np.array_equal(pixels(content, kinds.SIDE), kinds.PALETTE[samples[..., 0]])


def _signed(bits: int) -> bytes:
    samples = kinds.random(1, bits)
    return kinds.tiff_of(kinds.packed(samples, bits, "<"), [bits], 1, "<", [(339, [2])])


@pytest.mark.parametrize(
    ("made", "detail"),
    [
        (lambda: _signed(8), "signed"),
        (lambda: _signed(16), "mode I "),
        (lambda: make.encoded(make.noise().convert("YCbCr"), "TIFF"), "uncompressed YCbCr"),
        (lambda: kinds.tiff_of(bytes(24 * 24 * 13), [8] * 13, 1), "13 samples of 8 bits"),
        (lambda: kinds.tiff_of(bytes(24 * 24 * 2), [16], 0, ">"), "1 sample of 16 bits"),
    ],
)
def test_samples_without_a_defined_value_are_refused(
    made: Callable[[], bytes], detail: str
) -> None:
    with pytest.raises(ImageError, match=f"refused_format.*{detail}"):
        inspect(made(), Limits())
