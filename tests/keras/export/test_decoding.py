from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headstart.images import resize
from headstart.keras.export import decoding
from headstart.keras.runtime import tf
from tests.images import kinds
from tests.images.made import encoded, pixels, png_header

SIZE = 48


@pytest.fixture(scope="module")
def decode() -> Any:
    return tf.function(
        lambda content: decoding.decode(content, SIZE, None),
        input_signature=[tf.TensorSpec([], tf.string)],
    )


@pytest.fixture(scope="module")
def orientation() -> Any:
    return tf.function(decoding.exif_orientation, input_signature=[tf.TensorSpec([], tf.string)])


def photo(width: int = 150, height: int = 110) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def transparent() -> Image.Image:
    image = photo()
    alpha = np.random.default_rng(1).integers(0, 256, image.size[::-1], dtype=np.uint8)
    image.putalpha(Image.fromarray(alpha))
    return image


def with_orientation(value: int, endian: str = "<", **options: Any) -> bytes:
    exif = Image.Exif()
    exif.endian = endian
    exif[0x010F] = "maker"
    exif[0x0112] = value
    return encoded(photo(), "JPEG", quality=90, exif=exif, **options)


def sixteen_bits() -> Image.Image:
    values = np.random.default_rng(2).integers(0, 65536, (40, 60)).astype(np.uint16)
    return Image.fromarray(values)


IMAGES: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: encoded(photo(), "JPEG", quality=90),
    "gray jpeg": lambda: encoded(photo().convert("L"), "JPEG"),
    "CMYK jpeg": lambda: encoded(photo().convert("CMYK"), "JPEG"),
    "progressive jpeg": lambda: encoded(photo(), "JPEG", progressive=True),
    "large jpeg, decoded at a half": lambda: encoded(photo(523, 391), "JPEG"),
    "large jpeg, decoded at an eighth": lambda: encoded(photo(1021, 877), "JPEG"),
    "tiny jpeg": lambda: encoded(photo(9, 21), "JPEG"),
    "png": lambda: encoded(photo(), "PNG"),
    "gray png": lambda: encoded(photo().convert("L"), "PNG"),
    "palette png": lambda: encoded(photo().convert("P"), "PNG"),
    "16-bit png": lambda: encoded(sixteen_bits(), "PNG"),
    "transparent png": lambda: encoded(transparent(), "PNG"),
    "gif": lambda: encoded(photo(), "GIF"),
    "animated gif": lambda: encoded(
        photo(), "GIF", save_all=True, append_images=[photo().rotate(90)]
    ),
    "bmp": lambda: encoded(photo(), "BMP"),
    **{f"orientation {value}": partial(with_orientation, value) for value in range(1, 9)},
}


@pytest.mark.parametrize("name", IMAGES)
def test_the_graph_sees_what_training_saw(name: str, decode: Any) -> None:
    content = IMAGES[name]()
    ours = pixels(content, SIZE).astype(int)
    graph = decode(content).numpy()
    assert graph.shape == (SIZE, SIZE, 3)
    assert graph.dtype == np.uint8
    assert np.abs(graph - ours).max() <= 1
    # Pillow computes with integers, TensorFlow with floats: they round apart near a half, which
    # gray images show in all three channels at once.
    assert (graph != ours).mean() < 0.06


@pytest.mark.parametrize("kind", kinds.PNG)
@pytest.mark.parametrize("bits", [8, 12, 15])
def test_the_bits_of_gray_hold_in_the_graph_as_in_training(kind: str, bits: int) -> None:
    content = kinds.PNG[kind]().content
    graph = decoding.decode(tf.constant(content), kinds.SIDE, bits).numpy()
    assert np.array_equal(graph, resize.pixels(content, kinds.SIDE, gray16_bits=bits))
    changes = kind.startswith("gray, 16 bits")
    assert np.array_equal(graph, pixels(content, kinds.SIDE)) != changes


@pytest.mark.parametrize("kind", kinds.PNG)
def test_libpng_reads_every_kind_of_png_as_pillow_does_for_training(kind: str) -> None:
    content, expected = kinds.PNG[kind]()
    graph = decoding.decode(tf.constant(content), kinds.SIDE, None).numpy()
    assert np.array_equal(graph, pixels(content, kinds.SIDE))
    assert np.array_equal(graph, expected)


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("value", range(1, 9))
def test_orientation_of_either_byte_order(value: int, endian: str, orientation: Any) -> None:
    assert orientation(with_orientation(value, endian)).numpy() == value


def test_a_damaged_exif_record_is_no_orientation(orientation: Any) -> None:
    whole = with_orientation(6)
    assert b"Exif" in whole[:40]
    for length in range(0, 140, 3):
        assert orientation(whole[:length]).numpy() in {1, 6}
    rng = np.random.default_rng(3)
    for _ in range(50):
        damaged = bytearray(whole[:400])
        damaged[int(rng.integers(2, 100))] = int(rng.integers(0, 256))
        assert 1 <= orientation(bytes(damaged)).numpy() <= 8


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GI",
        b"no image",
        encoded(photo(), "TIFF"),
        encoded(photo(), "AVIF"),
        encoded(photo(), "WEBP"),
        *(encoded(photo().convert(mode), "BMP") for mode in ("P", "L", "1")),
    ],
)
def test_what_is_no_image_is_refused(content: bytes, decode: Any) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"no image|palette"):
        decode(content)


def header(kind: str, width: int, height: int) -> bytes:
    """A file that claims to have so many pixels; no decoder may get it."""
    if kind == "png":
        return png_header(width, height)
    content = bytearray(encoded(Image.new("RGB", (16, 16)), kind.upper()))
    if kind == "bmp":
        content[18:26] = width.to_bytes(4, "little") + height.to_bytes(4, "little")
    else:
        frame = content.index(b"\xff\xc0")
        content[frame + 5 : frame + 9] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(content)


@pytest.mark.parametrize("kind", ["png", "bmp", "jpeg"])
def test_too_many_pixels_are_refused_by_the_header(kind: str, decode: Any) -> None:
    for width, height in ((65_000, 65_000), (1_000, 50_001)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="more than 50,000,000 pixels"):
            decode(header(kind, width, height))


@pytest.mark.parametrize("kind", ["png", "bmp", "jpeg"])
def test_a_header_that_is_cut_off_is_refused(kind: str, decode: Any) -> None:
    whole = encoded(photo(), kind.upper())
    for length in (8, 17, 20, 25, 29, 60):
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode(whole[:length])


def test_the_graph_names_no_decoder_that_older_versions_lack(decode: Any) -> None:
    """TensorFlow before 2.20, and TensorFlow Serving, load no graph that names DecodeWebP."""
    graph = decode.get_concrete_function().graph.as_graph_def()
    nodes = [*graph.node, *(node for each in graph.library.function for node in each.node_def)]
    decoders = {node.op for node in nodes if node.op.startswith("Decode")}
    assert decoders == {"DecodeJpeg", "DecodePng", "DecodeGif", "DecodeBmp", "DecodeRaw"}
