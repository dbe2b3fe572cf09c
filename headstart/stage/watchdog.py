"""A stage never outlives the dvc that started it, and never writes beside another one.

DVC does not end its child when it is killed: the stage would go on writing, and the next run would
start a second one beside it.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from headstart._utils import locks, processes

_PR_SET_PDEATHSIG = 1
_PERIOD = 0.5  # seconds


def die_with_dvc() -> None:
    """End this process when the dvc that started it ends. Not started by DVC: do nothing."""
    if "DVC_STAGE" not in os.environ:
        return
    parent = os.getppid()
    dvc = processes.employer()
    if sys.platform == "linux":
        # The kernel tells at once, but of the parent only.
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # It died between the lines.
            os._exit(143)
    if sys.platform != "linux" or dvc.pid != parent:
        threading.Thread(target=_watch, args=(parent, dvc), daemon=True).start()


def _watch(parent: int, dvc: processes.Process) -> None:
    while os.getppid() == parent and processes.alive(dvc):
        time.sleep(_PERIOD)
    os._exit(143)


@contextmanager
def outputs_locked(outputs: Sequence[Path]) -> Iterator[None]:
    """Hold a lock named by the outputs' absolute paths; wait, and say so, if another run has it."""
    if sys.platform == "win32" or not outputs:
        yield
        return
    # Machines and containers may share the cache folder, and then name other files by these paths.
    name = "\n".join([os.uname().nodename, *sorted(str(path.absolute()) for path in outputs)])
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    busy = f"Another run (process {{holder}}) is writing {outputs[0]}. Waiting for it to end …"
    with locks.alone(locks.folder() / f"{digest}.lock", busy):
        yield
