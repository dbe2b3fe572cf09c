"""Random numbers by name: every consumer has its own stream from the seed of params.yaml.

A stream depends only on (seed, names) and not on how many numbers another consumer drew, so a
change in one place never shifts the randomness of another. For a NumPy generator, key a Philox
with :func:`derive`: counter-based, and the same on every platform.
"""

from __future__ import annotations

import hashlib


def derive(seed: int, *names: str | int) -> int:
    """Return a 64-bit unsigned integer that depends on the seed and the names only."""
    digest = hashlib.sha256(repr((seed, *names)).encode()).digest()
    return int.from_bytes(digest[:8], "big")


def uniform(seed: int, *names: str | int) -> float:
    """Return a number in [0, 1), the same on every machine for the same seed and names."""
    # The top 53 bits: every one of them is exact in a float, so the result never rounds up to 1.
    return (derive(seed, *names) >> 11) * 2.0**-53
