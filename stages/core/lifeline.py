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
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: DVC's own lock has to do.
    fcntl = None  # type: ignore[assignment]

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """End this process when its parent dies, if DVC started it. Elsewhere: do nothing."""
    if "DVC_STAGE" not in os.environ:
        return
    parent = os.getppid()
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # It died between the two lines.
            os._exit(143)
    elif os.name == "posix":
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(143)


@contextmanager
def outputs_locked(outputs: Sequence[Path]) -> Iterator[None]:
    """Hold a lock named by the outputs' absolute paths; wait, and say so, if another run has it."""
    if fcntl is None or not outputs:
        yield
        return
    name = "\n".join(sorted(str(path.absolute()) for path in outputs))
    folder = Path(tempfile.gettempdir()) / f"headstart-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    with (folder / f"{digest}.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            print(
                f"Another run (process {holder}) is writing {outputs[0]}. Waiting for it to end …",
                file=sys.stderr,
            )
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
