"""The version of decoding: everything that decides its result, except the image's bytes."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from PIL import __version__, features

from headstart._utils.files import sha256_file

_CODECS = ("jpg", "jpg_2000", "zlib", "libtiff", "webp", "avif")


def decoder(modules: Iterable[Path] = ()) -> dict[str, Any]:
    """Return the versions of Pillow and its codecs, and the hashes of our code, as JSON values.

    Parameters
    ----------
    modules : iterable of Path
        Python files that decide, too, besides those of this room.
    """
    code = [*sorted(Path(__file__).parent.glob("*.py")), *modules]
    return {
        "headstart": metadata.version("headstart"),
        "code": [sha256_file(path) for path in code],
        "pillow": __version__,
        "codecs": {name: features.version(name) for name in _CODECS if features.check(name)},
    }
