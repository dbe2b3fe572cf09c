from __future__ import annotations

import re
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from headstart._utils.errors import ImageError
from headstart.images.decode import Limits, inspect, quiet
from headstart.images.formats import _MAGIC, FORMATS, MOST_PIXELS, cure, detect
from tests.images import made as make

LIMITS = Limits(min_side=8)
PAGE = Path(__file__).parents[2] / "docs" / "your-images.md"
KINDS = [row.decoder for row in FORMATS.values()]


def reason(content: bytes, limits: Limits = LIMITS) -> str:
    with pytest.raises(ImageError) as caught:
        inspect(content, limits)
    assert caught.value.detail
    assert "0x" not in caught.value.detail  # no addresses: the table must be the same every time
    return caught.value.reason


@pytest.mark.parametrize(
    ("kind", "name", "ext"),
    [
        ("JPEG", "jpeg", "jpg"),
        ("PNG", "png", "png"),
        ("WEBP", "webp", "webp"),
        ("GIF", "gif", "gif"),
        ("BMP", "bmp", "bmp"),
        ("TIFF", "tiff", "tif"),
        ("AVIF", "avif", "avif"),
    ],
)
def test_every_format_is_recognized_by_its_content(kind: str, name: str, ext: str) -> None:
    info = inspect(make.encoded(make.noise(40, 30), kind), LIMITS)
    assert (info.width, info.height, info.format, info.ext) == (40, 30, name, ext)
    others = Limits(formats=tuple(known for known in LIMITS.formats if known != name))
    assert reason(make.encoded(make.noise(40, 30), kind), others) == "refused_format"


def test_the_table_of_formats_covers_what_the_tests_cover() -> None:
    for name, row in FORMATS.items():
        content = make.encoded(make.noise(), row.decoder)
        assert detect(content) == name
        assert [other for other in FORMATS.values() if other.magic.match(content)] == [row]
        assert not row.ends_early(content)
    assert {row.name for row in FORMATS.values() if not row.accepted} == {"tiff"}


def test_an_avif_file_of_a_general_kind_is_recognized_by_its_compatible_brands() -> None:
    content = bytearray(make.encoded(make.noise(), "AVIF"))
    content[8:12] = b"mif1"
    assert inspect(bytes(content), LIMITS).format == "avif"


@pytest.mark.parametrize(
    "brand", ["heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs", "mif1", "msf1"]
)
def test_every_brand_of_heic_is_named_with_what_to_do(brand: str) -> None:
    for compatible, name in (("heic", "heic"), ("miafhevc", "heic"), ("miaf", "heif")):
        content = b"\0\0\0\x18ftyp" + brand.encode() + bytes(4) + compatible.encode() + bytes(40)
        expected = name if brand in {"mif1", "msf1"} else "heic"
        assert detect(content) == expected
        with pytest.raises(ImageError, match=f"^refused_format: {expected} .*; convert it to PNG"):
            inspect(content, LIMITS)


def test_a_format_that_could_be_accepted_is_refused_with_the_parameter() -> None:
    content = make.encoded(make.noise(), "TIFF")
    with pytest.raises(
        ImageError, match=r"jpeg, png; to accept it, add tiff to `download\.formats`"
    ):
        inspect(content, Limits(formats=("jpeg", "png")))


def test_every_known_format_has_a_cure() -> None:
    assert all(cure(name) for name in _MAGIC)


def test_the_code_of_the_page_converts_heic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert "HEIC photos" in cure("heic")
    code = re.search(r"```python\n(.*?)```", page[page.index("### HEIC photos") :], re.DOTALL)
    assert code is not None
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    heif.register_heif_opener()
    (tmp_path / "data" / "raw" / "cat").mkdir(parents=True)
    make.noise(64, 48).save(tmp_path / "data/raw/cat/IMG.HEIC", "HEIF", quality=-1)
    monkeypatch.chdir(tmp_path)
    exec(compile(code[1], str(PAGE), "exec"), {})  # noqa: S102 - a page of ours
    info = inspect(Path("data/converted/cat/IMG.png").read_bytes(), LIMITS)
    assert (info.width, info.height, info.format) == (64, 48, "png")


def test_a_png_without_the_palette_that_its_pixels_name_is_corrupt() -> None:
    content = make.encoded(make.noise(16, 16).quantize(8), "PNG")
    start = content.index(b"PLTE") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4], "big")
    with pytest.raises(ImageError, match=r"^corrupt: its colors are numbers of a palette"):
        inspect(content[:start] + content[end:], LIMITS)


@pytest.mark.parametrize("kind", ["JPEG", "AVIF"])
@pytest.mark.parametrize("value", range(1, 9))
def test_width_and_height_are_those_after_turning(value: int, kind: str) -> None:
    info = inspect(make.turned(value, kind), LIMITS)
    assert (info.width, info.height) == ((40, 30) if value < 5 else (30, 40))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>Not found</html>", "not_an_image"),
        (b"\0" * 100, "not_an_image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "refused_format"),
        (b"8BPS\0\1" + b"\0" * 50, "refused_format"),
        (b"\0\0\0\x1cftypheic\0\0\0\0", "refused_format"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic", "refused_format"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "truncated"),
        (make.encoded(make.noise(200, 200), "AVIF")[:-300], "truncated"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_an_image"),
        (make.jpeg()[:3], "truncated"),
        (make.jpeg(400, 300)[:900], "truncated"),
        (make.jpeg(400, 300)[:-200], "truncated"),
        (make.png(400, 300)[:-500], "truncated"),
        (make.png()[:20], "truncated"),
        (make.encoded(make.noise(200, 200), "GIF")[:-900], "truncated"),
        (make.encoded(make.noise(200, 200), "WEBP")[:-300], "truncated"),
        (make.encoded(make.noise(200, 200), "BMP")[:-300], "truncated"),
        (make.gif_header(65535, 65535), "too_large"),
        (make.png_header(10_000, 10_000), "too_large"),
        (make.png_header(7_001, 7_200), "too_large"),
        (make.png_header(100, 100), "truncated"),
        (make.png(7, 30), "too_small"),
        (make.png(30, 7), "too_small"),
        (make.encoded(Image.new("F", (20, 20)), "TIFF"), "refused_format"),
        (make.encoded(Image.new("I", (20, 20)), "TIFF"), "refused_format"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_poison_has_its_reason(content: bytes, expected: str) -> None:
    assert reason(content) == expected


@pytest.mark.parametrize("missing", [1, 4, 6, 11, 12])
def test_a_png_whose_pixels_are_complete_may_still_end_early(missing: int) -> None:
    # Pillow shows it; libpng, and with it TensorFlow, refuses it.
    assert reason(make.png()[:-missing]) == "truncated"


def test_what_follows_a_png_does_not_matter() -> None:
    inspect(make.png() + b"\0" * 1000, LIMITS)


def test_a_damaged_checksum_is_corrupt() -> None:
    content = bytearray(make.png(100, 100))
    content[len(content) // 2] ^= 0xFF
    assert reason(bytes(content)) in {"corrupt", "truncated"}


def test_bytes_are_limited() -> None:
    content = make.png()
    assert reason(content, Limits(max_bytes=len(content) - 1)) == "too_large"
    inspect(content, Limits(max_bytes=len(content)))


def test_pixels_are_limited_before_decoding() -> None:
    content = make.png(40, 30)
    assert reason(content, Limits(max_pixels=1199)) == "too_large"
    inspect(content, Limits(max_pixels=1200))


def test_pillows_own_bound_holds_where_ours_is_wide() -> None:
    for side in (20_000, 10_000):
        with pytest.raises(ImageError, match="too_large: it has more than 89,478,485 pixels;"):
            inspect(make.png_header(side, side), Limits(max_pixels=1 << 40))
    assert Image.MAX_IMAGE_PIXELS == MOST_PIXELS


def test_kinds_of_pixels_that_are_accepted() -> None:
    gray = np.arange(400, dtype=np.uint16).reshape(20, 20) * 160
    for content in (
        make.gray16(gray),
        make.encoded(make.noise().convert("P"), "PNG"),
        make.encoded(make.noise().convert("1"), "PNG"),
        make.encoded(make.noise().convert("LA"), "PNG"),
        make.encoded(make.noise().convert("RGBA"), "PNG"),
        make.encoded(make.noise().convert("CMYK"), "JPEG"),
        make.animation("GIF"),
        make.animation("WEBP"),
        make.animation("PNG"),
        make.animation("AVIF"),
        make.encoded(make.noise().convert("RGBA"), "AVIF"),
    ):
        inspect(content, LIMITS)


def test_warnings_do_not_leak_and_filters_are_restored() -> None:
    before = list(warnings.filters)
    damaged = bytearray(make.turned(6))
    place = damaged.index(b"Exif\0\0") + 6
    damaged[place : place + 12] = b"II*\0\xff\xff\xff\x7f\0\0\0\0"
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        inside = list(warnings.filters)
        info = inspect(bytes(damaged), LIMITS)
        assert list(warnings.filters) == inside
    assert seen == []
    assert (info.width, info.height) == (40, 30)
    assert list(warnings.filters) == before


def test_overlapping_threads_restore_the_filters() -> None:
    before = list(warnings.filters)
    first_in, second_in = threading.Event(), threading.Event()

    def first() -> None:
        with quiet():
            first_in.set()
            second_in.wait(10)

    def second() -> None:
        first_in.wait(10)
        with quiet():
            second_in.set()

    with ThreadPoolExecutor(2) as pool:
        for future in (pool.submit(first), pool.submit(second)):
            future.result()
    assert list(warnings.filters) == before


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_the_bytes_only_an_image_error_comes_out(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(KINDS))
    content = bytearray(make.encoded(make.noise(24, 16), kind))
    for _ in range(data.draw(st.integers(0, 6))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    try:
        info = inspect(bytes(content[:cut]), LIMITS)
    except ImageError:
        return
    assert min(info.width, info.height) >= 8
