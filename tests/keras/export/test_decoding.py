from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headstart.images.resize import pixels
from headstart.keras.export import decoding
from headstart.keras.runtime import tf
from tests.images import kinds
from tests.images.made import encoded

SIZE = 48


@pytest.fixture(scope="module")
def decode() -> Any:
    return tf.function(
        lambda content: decoding.decode(content, SIZE),
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
    "webp": lambda: encoded(photo(), "WEBP"),
    "transparent webp": lambda: encoded(transparent(), "WEBP", lossless=True),
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
def test_libpng_reads_every_kind_of_png_as_pillow_does_for_training(kind: str) -> None:
    content, expected = kinds.PNG[kind]()
    graph = decoding.decode(tf.constant(content), kinds.SIDE).numpy()
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
        *(encoded(photo().convert(mode), "BMP") for mode in ("P", "L", "1")),
    ],
)
def test_what_is_no_image_is_refused(content: bytes, decode: Any) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"no image|palette"):
        decode(content)


def animated_webp(frames: int, **options: Any) -> bytes:
    images = [photo().rotate(90 * number) for number in range(frames)]
    return encoded(
        images[0], "WEBP", save_all=True, append_images=images[1:], duration=50, **options
    )


# In a process of its own: what is tested is that it lives.
ANIMATIONS = """
import sys
from pathlib import Path
folder = Path(sys.argv[1])
import tensorflow as tf
if sys.argv[2] == "graph":
    from headstart.keras.export import decoding
    decode = tf.function(
        lambda content: decoding.decode(content, 32),
        input_signature=[tf.TensorSpec([], tf.string)], autograph=False,
    )
else:
    served = tf.saved_model.load(str(folder / "saved")).signatures["serving_default"]
    decode = lambda content: served(content=tf.constant([content]))["pixels"][0]
still = (folder / "still.webp").read_bytes()
assert decode(still).shape == (32, 32, 3)
for _ in range(5):
    for path in sorted(folder.glob("animated*.webp")):
        try:
            decode(path.read_bytes())
        except tf.errors.InvalidArgumentError as error:
            assert "animated WebP" in str(error), error
        else:
            raise AssertionError(path)
assert decode(still).shape == (32, 32, 3)
print("ALIVE")
"""


@pytest.fixture(scope="module")
def animations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Animated images, a still one, and a SavedModel of the decoder alone."""
    folder = tmp_path_factory.mktemp("animations")
    (folder / "still.webp").write_bytes(encoded(transparent(), "WEBP"))
    for frames in (2, 3):
        (folder / f"animated-{frames}.webp").write_bytes(animated_webp(frames))
    (folder / "animated-lossless.webp").write_bytes(animated_webp(3, lossless=True))

    def serve(content: Any) -> dict[str, Any]:
        spec = tf.TensorSpec((32, 32, 3), tf.uint8)
        decoded = tf.map_fn(lambda one: decoding.decode(one, 32), content, fn_output_signature=spec)
        return {"pixels": decoded}

    strings = tf.TensorSpec((None,), tf.string, "content")
    traced = tf.function(serve, autograph=False).get_concrete_function(strings)
    tf.saved_model.save(tf.Module(), str(folder / "saved"), signatures=traced)
    return folder


@pytest.mark.parametrize("way", ["graph", pytest.param("saved model", marks=pytest.mark.slow)])
def test_an_animated_webp_is_refused_before_it_is_decoded(way: str, animations: Path) -> None:
    assert all(b"ANMF" in path.read_bytes() for path in animations.glob("animated*.webp"))
    done = subprocess.run(
        [sys.executable, "-c", ANIMATIONS, str(animations), way],
        cwd=Path(__file__).resolve().parents[3], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "ALIVE"


def test_a_webp_with_extended_header_and_no_animation_is_taken(decode: Any) -> None:
    content = encoded(transparent(), "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0")
    assert content[12:16] == b"VP8X"
    assert decode(content).shape == (SIZE, SIZE, 3)
