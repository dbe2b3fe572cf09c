"""The machine that this process runs on."""

from __future__ import annotations

import os
import platform

_SAME = {"amd64": "x86_64", "aarch64": "arm64"}


#: Images in a batch of the Keras engine. The number decides bits, so it is one for everybody.
KERAS_BATCH = 32


def cores() -> int:
    """CPU cores that this process may use; unlike a container's quota, told by the system."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def architecture() -> str:
    """The processor's kind by one name, whichever the system has for it: ``x86_64``, ``arm64``."""
    name = platform.machine().lower()
    return _SAME.get(name, name)
