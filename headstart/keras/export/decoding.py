"""Encoded images to pixels inside a TensorFlow graph: what an exported model does for itself.

The nearest equivalent of :mod:`headstart.images.resize`. First bytes decide the format. JPEG
is decoded as Pillow decodes it (accurate integer DCT, reduced where the image is large). Its
EXIF orientation is read from the bytes and applied. Transparency lies over white. The resize is
bilinear with antialias, one axis after the other with 8-bit values in between, as Pillow does it.
Hardly a value differs, and then by 1 of 255. :data:`NOT_COVERED` says what is not done.

TensorFlow has a decoder of WebP from version 2.20 on. Before, and so in TensorFlow Serving, it
refuses to load a whole model whose graph names the decoder. So WebP is left out.
"""

from __future__ import annotations

from typing import Any

from headstart.export.parity import UNSUPPORTED
from headstart.images.formats import FORMATS
from headstart.keras.runtime import tf

#: As the stage ``download`` accepts by default. The header is asked before a pixel is decoded.
MOST_PIXELS = 50_000_000


def _listed(*, decoded: bool) -> str:
    """Return the image formats that TensorFlow decodes, or that it does not, as words."""
    *first, last = [row.title for row in FORMATS.values() if row.in_tensorflow == decoded]
    return f"{', '.join(first)} and {last}" if first else last


#: For the people who use an exported model.
NOT_COVERED = (
    "Orientation is read from the EXIF data of JPEG files only (not of PNG)",
    f"{_listed(decoded=False)} files and BMP files below 24 bits are refused",
    f"Images of more than {MOST_PIXELS:,} pixels are refused, but GIF files have no such bound",
    "GIF files with transparency, or whose first frame does not fill the canvas, look different",
    "Embedded color profiles are ignored, here as in training",
)

_SUPPORTED = _listed(decoded=True)
# Where EXIF stands, it stands at the start; a segment is at most 64 KiB long.
_EXIF_REACH = 1 << 17
_JPEG_RATIOS = (1, 2, 4, 8)
_GRAY, _PALETTE = 0, 3  # color types of PNG


def decode(content: Any, size: int, gray16_bits: int | None) -> Any:
    """Decode one encoded image, turn it upright and resize it.

    Parameters
    ----------
    content : scalar string tensor
        The bytes of a file.
    size : int
        Side of the result.
    gray16_bits : int or None
        Bits of white in 16-bit gray images; None: 16.

    Returns
    -------
    uint8 tensor of shape (size, size, 3)

    Raises
    ------
    tf.errors.InvalidArgumentError
        When run on bytes that are not an image of a supported format.
    """
    image, extent = _decoded(content, size, gray16_bits)
    # Turned when it is a small square, as in training; the filter is symmetric.
    return _upright(resize(image, extent, size), exif_orientation(content))


def resize(image: Any, extent: Any, size: int) -> Any:
    """Resize bilinearly with antialias, across and then down, rounded to 8 bits after each.

    Parameters
    ----------
    image : uint8 tensor of shape (height, width, 3)
    extent : float32 tensor of shape (2,)
        Height and width of the part that is taken, from the upper left corner: a reduced JPEG has
        a last row and column that the original fills only in part.
    size : int

    Returns
    -------
    uint8 tensor of shape (size, size, 3)
    """
    height = tf.shape(image)[0]
    across = _resized(image, (height, size), (1.0, size / extent[1]))
    square = _resized(across, (size, size), (size / extent[0], 1.0))
    return tf.ensure_shape(square, (size, size, 3))


def _resized(image: Any, shape: Any, scale: Any) -> Any:
    # What tf.image.resize(antialias=True) calls, which cannot be told a part of a pixel.
    values = tf.raw_ops.ScaleAndTranslate(
        images=image[None],
        size=tf.stack(shape),
        scale=tf.stack(scale),
        translation=tf.zeros(2),
        kernel_type="triangle",
        antialias=True,
    )[0]
    # Half up, as Pillow rounds; tf.round would take halves to the even neighbor.
    return tf.cast(tf.clip_by_value(tf.floor(values + 0.5), 0.0, 255.0), tf.uint8)


def _decoded(content: Any, size: int, gray16_bits: int | None) -> tuple[Any, Any]:
    """Return a uint8 image (height, width, 3) as it is stored, and its extent."""
    kinds = [
        (b"\xff\xd8\xff", lambda: _jpeg(content, size)),
        (b"\x89PNG\r\n\x1a\n", lambda: _whole(_png(content, gray16_bits))),
        (b"GIF8", lambda: _whole(tf.io.decode_gif(content)[0])),
        (b"BM", lambda: _whole(_bmp(content))),
    ]
    is_kind = tf.stack(
        [tf.equal(tf.strings.substr(content, 0, len(magic)), magic) for magic, _ in kinds]
    )
    known = tf.Assert(
        tf.reduce_any(is_kind),
        [f"{UNSUPPORTED} ({_SUPPORTED})."],
    )
    with tf.control_dependencies([known]):
        which = tf.argmax(tf.cast(is_kind, tf.int32), output_type=tf.int32)
    image, extent = tf.switch_case(which, [decoder for _, decoder in kinds])
    image.set_shape((None, None, 3))
    return image, extent


def _whole(image: Any) -> tuple[Any, Any]:
    return image, tf.cast(tf.shape(image)[:2], tf.float32)


def _within(content: Any, sides: Any) -> Any:
    """Return ``content``, if its header states sides (float64, (2,)) that memory suffices for."""
    few = tf.reduce_prod(tf.abs(sides)) <= MOST_PIXELS
    stated = tf.Assert(few, [f"An image of more than {MOST_PIXELS:,} pixels."])
    with tf.control_dependencies([stated]):
        # Nothing is left to decode, should a tool have taken the assertions out of the graph.
        return tf.where(few, content, b"")


def _numbers(content: Any, place: int, dtype: Any, *, little: bool) -> Any:
    """Return two numbers of a header as float64."""
    digits = _header(content, place, 2 * dtype.size)
    return tf.cast(tf.io.decode_raw(digits, dtype, little_endian=little), tf.float64)


def _header(content: Any, place: int, size: int) -> Any:
    """Return bytes of a header; zeros in place of what is cut off."""
    end = place + size
    padded = tf.strings.join([tf.strings.substr(content, 0, end), b"\0" * end])
    return tf.strings.substr(padded, place, size)


def _jpeg(content: Any, size: int) -> tuple[Any, Any]:
    """Decode at a half, a quarter or an eighth of the side, never below twice ``size``."""
    shape = tf.image.extract_jpeg_shape(content)[:2]
    content = _within(content, tf.cast(shape, tf.float64))
    times = tf.reduce_min(shape // (2 * size))
    which = sum(tf.cast(times >= ratio, tf.int32) for ratio in _JPEG_RATIOS[1:])

    def at(ratio: int) -> tuple[Any, Any]:
        image = tf.io.decode_jpeg(content, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")
        return image, tf.cast(shape, tf.float32) / ratio

    return tf.switch_case(  # type: ignore[no-any-return]
        which, [lambda ratio=ratio: at(ratio) for ratio in _JPEG_RATIOS]
    )


def _png(content: Any, gray16_bits: int | None) -> Any:
    content = _within(content, _numbers(content, 16, tf.int32, little=False))
    depth, color = tf.unstack(tf.io.decode_raw(_header(content, 24, 2), tf.uint8), num=2)
    if gray16_bits is None:
        return _png_of_all_bits(content, color)
    return tf.cond(
        tf.equal(depth, 16) & tf.equal(color, _GRAY),
        lambda: _gray16(content, gray16_bits),
        lambda: _png_of_all_bits(content, color),
    )


def _gray16(content: Any, bits: int) -> Any:
    """Decode a 16-bit gray PNG whose white is the largest number of ``bits`` bits."""
    rgba = tf.cast(tf.io.decode_png(content, channels=4, dtype=tf.uint16), tf.int32)
    levels = tf.minimum(rgba[..., :3], (1 << bits) - 1) // (1 << (bits - 8))
    return tf.cast(tf.where(rgba[..., 3:] > 0, levels, 255), tf.uint8)


def _png_of_all_bits(content: Any, color: Any) -> Any:
    return tf.cond(
        tf.equal(color, _PALETTE),
        lambda: _with_or_without_alpha(tf.io.decode_png(content, channels=0)),
        lambda: _over_white(_opaque_gray(tf.io.decode_png(content, channels=4), color)),
    )


def _opaque_gray(rgba: Any, color: Any) -> Any:
    """Correct the opacity of gray images below 8 bits: TensorFlow gives them 1, 3 or 15.

    (And palettes below 8 bits, which is why their opacity is not asked for.) In a gray image
    without an alpha channel, a pixel is opaque or, by the tRNS chunk, 0.
    """
    alpha = rgba[..., 3:]
    opaque = tf.equal(color, _GRAY) & (alpha > 0)
    return tf.concat([rgba[..., :3], tf.where(opaque, tf.constant(255, tf.uint8), alpha)], axis=2)


def _with_or_without_alpha(image: Any) -> Any:
    transparent = tf.equal(tf.shape(image)[2], 4)
    return tf.cond(transparent, lambda: _over_white(image), lambda: image[..., :3])


def _bmp(content: Any) -> Any:
    # TensorFlow takes the indices of a palette for gray values. Bits a pixel stand in byte 28.
    bits = tf.io.decode_raw(_header(content, 28, 1), tf.uint8)
    full = tf.Assert(
        tf.reduce_all(bits >= 24),
        ["A BMP file with a palette or of less than 24 bits a pixel; save it as PNG."],
    )
    with tf.control_dependencies([full]):
        sides = _numbers(content, 18, tf.int32, little=True)
        return tf.io.decode_bmp(_within(content, sides), channels=0)[..., :3]


def _over_white(rgba: Any) -> Any:
    def blended() -> Any:
        values = tf.cast(rgba, tf.float32)
        alpha = values[..., 3:] / 255.0
        over = values[..., :3] * alpha + 255.0 * (1.0 - alpha)
        return tf.cast(tf.floor(over + 0.5), tf.uint8)

    opaque = tf.reduce_all(tf.equal(rgba[..., 3], 255))
    return tf.cond(opaque, lambda: rgba[..., :3], blended)


def _upright(square: Any, orientation: Any) -> Any:
    """Undo an EXIF orientation: transpose, then mirror, then turn upside down.

    By the place that each pixel comes from: to transpose bytes makes TensorFlow complain on
    standard error, on most CPUs.
    """
    side = square.shape[0]

    def is_one_of(*codes: int) -> Any:
        return tf.reduce_any(tf.equal(orientation, codes))

    up, along = tf.range(side)[:, None], tf.range(side)[None, :]
    up = tf.where(is_one_of(3, 4, 7, 8), side - 1 - up, up)
    along = tf.where(is_one_of(2, 3, 6, 7), side - 1 - along, along)
    places = tf.where(is_one_of(5, 6, 7, 8), along * side + up, up * side + along)
    return tf.gather(tf.reshape(square, (side * side, 3)), places)


def exif_orientation(content: Any) -> Any:
    """Return the EXIF orientation of a JPEG file, 1 to 8; 1 where there is none.

    Walks the segments at the start of the file (EXIF 2.32, section 4.5; TIFF 6.0, section 2).
    Reading past the end gives zeros, so that a damaged file is merely a file without orientation.

    Parameters
    ----------
    content : scalar string tensor

    Returns
    -------
    scalar int32 tensor
    """
    data = tf.cast(tf.io.decode_raw(tf.strings.substr(content, 0, _EXIF_REACH), tf.uint8), tf.int32)
    data = tf.concat([data, tf.zeros(16, tf.int32)], axis=0)
    last = tf.shape(data)[0] - 1

    def at(place: Any, count: int) -> Any:
        return tf.gather(data, tf.clip_by_value(place + tf.range(count), 0, last))

    def skippable(place: Any) -> Any:
        marker = at(place, 10)
        application = (marker[0] == 0xFF) & (marker[1] >= 0xE0) & (marker[1] <= 0xEF)
        exif = (marker[1] == 0xE1) & tf.reduce_all(
            tf.equal(marker[4:], tf.constant(list(b"Exif\0\0")))
        )
        return application & ~exif & (place < last)

    def following(place: Any) -> Any:
        length = at(place + 2, 2)
        return place + 2 + tf.maximum(length[0] * 256 + length[1], 2)

    (segment,) = tf.while_loop(
        skippable, lambda place: (following(place),), (tf.constant(2),), maximum_iterations=32
    )
    found = at(segment, 10)
    has_exif = (found[1] == 0xE1) & tf.reduce_all(
        tf.equal(found[4:], tf.constant(list(b"Exif\0\0")))
    )
    value = _orientation_in_tiff(at, segment + 10)
    return tf.where(has_exif & (value >= 1) & (value <= 8), value, 1)


_ORIENTATION = 0x0112
_MOST_ENTRIES = 128


def _orientation_in_tiff(at: Any, start: Any) -> Any:
    """Return the orientation in the first directory of the TIFF at ``start``; 0 for none."""
    little = tf.equal(at(start, 1)[0], ord("I"))

    def number(place: Any, count: int) -> Any:
        digits = at(place, count)
        digits = tf.where(little, digits[::-1], digits)
        return tf.reduce_sum(digits * tf.constant([256**power for power in range(count)][::-1]))

    directory = start + tf.minimum(number(start + 4, 4) & 0xFFFFFF, _EXIF_REACH)
    entries = tf.reshape(at(directory + 2, 12 * _MOST_ENTRIES), (_MOST_ENTRIES, 12))
    count = number(directory, 2)
    weights = tf.where(little, tf.constant([1, 256]), tf.constant([256, 1]))
    tags = tf.reduce_sum(entries[:, 0:2] * weights, axis=1)
    values = tf.reduce_sum(entries[:, 8:10] * weights, axis=1)
    wanted = tf.equal(tags, _ORIENTATION) & (tf.range(_MOST_ENTRIES) < count)
    return tf.reduce_max(tf.where(wanted, values, 0))
