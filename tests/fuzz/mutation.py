"""Damage an input as a number says: the same number always gives the same bytes."""

from __future__ import annotations

import gzip
import random
import struct
import zlib

from tests.fuzz.seeds import seeds

#: How many of a hundred inputs each target gets. Parameters take longest.
SHARES = {"image": 70, "zip": 9, "tar": 8, "table": 8, "parameters": 5}
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Numbers at which sizes overflow, end or change their sign.
_EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_WORDS = (
    b'"', b",", b"\n", b"\t", b"\r", b"\0", b"'", b"\xff", b"\xef\xbb\xbf", b": ", b"- ", b"{",
    b"[", b"&a ", b"*a", b"!!python/object:os.system ", b"../", b"/", b"nan", b"-1", b"1e999",
    b"9" * 400, b"#", b"null", b"\xe2\x80\xae", b"%", b"|", b"[" * 200,
)  # fmt: skip


def mutated(number: int) -> tuple[str, str, bytes]:
    """Return target, name of the seed, and content of an input."""
    chance = random.Random(number)
    target = chance.choices(list(SHARES), list(SHARES.values()))[0]
    name, content = chance.choice(seeds()[target])
    other = chance.choice(seeds()[target])[1]
    packed = content[:2] == b"\x1f\x8b" and chance.random() < 0.8
    if packed:  # damage what is inside, or only the checksum would ever be tried
        content = gzip.decompress(content)
    text = target in {"table", "parameters"} and name != "parquet"
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        content = _changed(content, other, chance, text=text)
    if packed:
        content = gzip.compress(content, mtime=0)
    if content.startswith(_SIGNATURE) and chance.random() < 0.8:
        content = with_checksums(content)
    return target, name, content


def _changed(content: bytes, other: bytes, chance: random.Random, *, text: bool) -> bytes:
    """Return the content with one change of a kind that is drawn."""
    place = chance.randrange(len(content) + 1)
    # Most of what decides lies in the first bytes.
    if chance.random() < 0.4:
        place = min(place, chance.randrange(128))
    length = chance.choice((1, 2, 4, 8, 32, 200))
    kind = chance.randrange(8)
    if text and kind < 3:
        new, skipped = chance.choice(_WORDS), chance.randrange(3)
    elif kind <= 1:
        new, skipped = bytes([chance.randrange(256)]), 1
    elif kind <= 3:
        new = _edge(chance)
        skipped = len(new)
    elif kind == 4:
        new, skipped = b"", length
    elif kind == 5:
        new, skipped = content[place : place + length] * chance.choice((2, 2, 2, 50)), length
    elif kind == 6:
        new, skipped = other[place:], len(content)
    else:
        new, skipped = chance.randbytes(length) * chance.randrange(2), len(content)
    return content[:place] + new + content[place + skipped :]


def _edge(chance: random.Random) -> bytes:
    kind = struct.Struct(chance.choice("<>") + chance.choice("BHI"))
    return kind.pack(chance.choice(_EDGES) % (1 << 8 * kind.size))


def with_checksums(content: bytes) -> bytes:
    """Return a PNG whose chunks have the checksums of their content, so that it is decoded."""
    parts, place = [_SIGNATURE], len(_SIGNATURE)
    while place + 12 <= len(content):
        end = place + 8 + int.from_bytes(content[place : place + 4], "big")
        if end + 4 > len(content):
            break
        crc = zlib.crc32(content[place + 4 : end])
        parts.append(content[place:end] + crc.to_bytes(4, "big"))
        place = end + 4
    return b"".join(parts) + content[place:]
