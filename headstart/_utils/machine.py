"""The machine that this process runs on."""

from __future__ import annotations

import os
import platform

_SAME = {"amd64": "x86_64", "aarch64": "arm64"}


def keras_batch(device: str) -> int:
    """Return the images per call of the Keras engine, which decide the bits of a feature.

    On a CPU an image runs alone: on some CPUs its bits depend on its place in a larger batch.

    Parameters
    ----------
    device : str
        ``cpu``, or the kind of a GPU.
    """
    return 1 if device == "cpu" else 32


def cores() -> int:
    """Return the number of CPU cores that this process may use; a container's quota is not seen."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def architecture() -> str:
    """Return the processor architecture by one name on all systems: ``x86_64``, ``arm64``."""
    name = platform.machine().lower()
    return _SAME.get(name, name)
