"""What parameters, commands and the decoder have to agree upon about images."""

from __future__ import annotations

from collections.abc import Mapping

#: Pillow takes what has more for a decompression bomb, and opens none of it.
MOST_PIXELS = 89_478_485

#: Image format, as the manifest names it, to the extension of its member.
EXTENSIONS: Mapping[str, str] = {
    "jpeg": "jpg",
    "png": "png",
    "webp": "webp",
    "gif": "gif",
    "bmp": "bmp",
    "tiff": "tif",
}
