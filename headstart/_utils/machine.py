"""The machine that this process runs on."""

from __future__ import annotations

import getpass
import os
import platform
import sys
from pathlib import Path

_SAME = {"amd64": "x86_64", "aarch64": "arm64"}


def name_user() -> None:
    """Give a user without an entry in the passwd database a name, which DVC fails without.

    That is the user of a container that was started with a number, as by ``docker run --user``.
    """
    if any(os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")):
        return
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):
        os.environ["USER"] = _made_up_name()


def is_nameless() -> bool:
    """Return whether the user has no name but the one that :func:`name_user` gave."""
    return os.environ.get("USER") == _made_up_name()


def _made_up_name() -> str:
    return f"user-{os.getuid()}" if hasattr(os, "getuid") else "user"


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


def peak_memory() -> int:
    """Return the largest memory, in bytes, that this process or a child that ended has had."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    try:
        # On Linux, `ru_maxrss` begins with the memory of the process that started this one.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        own = next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line) * 1024
    except (OSError, ValueError, StopIteration):
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return max(own, children)
