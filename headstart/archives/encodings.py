"""The encodings of names in archives: zip files do not state them, and tar files need not.

A zip member whose flag bit 11 is not set has a name in IBM's code page 437, by the book. In truth
it is UTF-8 (Info-ZIP on Linux, macOS), or in the code page of the system that packed it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

#: Name in params.yaml to the systems that use it for names.
ENCODINGS: Mapping[str, str] = {
    "utf-8": "Linux, macOS, and most programs of today",
    "gb18030": "Chinese Windows, simplified (GBK)",
    "big5": "Chinese Windows, traditional",
    "cp932": "Japanese Windows (Shift JIS)",
    "cp949": "Korean Windows (EUC-KR)",
    "cp437": "DOS and Windows in English",
    "cp850": "DOS and Windows in Western Europe",
    "cp852": "DOS and Windows in Central Europe",
    "cp866": "DOS and Windows in Russian",
    "cp1250": "some programs of Windows in Central Europe",
    "cp1251": "some programs of Windows in Russian",
    "cp1252": "some programs of Windows in Western Europe",
}


def decoded(name: bytes, encoding: str) -> str | None:
    """Return a name in an encoding; None if its bytes are not of it."""
    try:
        return name.decode(encoding)
    except UnicodeDecodeError:
        return None


def readings(names: Sequence[bytes]) -> str:
    """Return how the first of some names reads in each encoding that all of them may have."""
    lines = []
    for encoding, systems in ENCODINGS.items():
        read = [decoded(name, encoding) for name in names]
        if all(text is not None and text.isprintable() for text in read):
            lines.append(f"  `download.encoding: {encoding}`  {read[0]}  ({systems})")
    return "\n".join(lines)
