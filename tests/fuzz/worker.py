"""The process that tries inputs: ``python -m tests.fuzz.worker FIRST LAST``, a line for each.

It may die of any input; the line that announced it names the culprit.
"""

from __future__ import annotations

import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

from tests.fuzz.mutation import mutated
from tests.fuzz.targets import outcome

#: Seconds of processor time that an input may take, before SIGPROF ends the process.
SECONDS = 2.0
#: Bytes of address space, far above what the limits of images allow.
MEMORY = 6 << 30


def _try(number: int, folder: Path) -> None:
    """Try one input between two lines: what it is, and how it ended."""
    target, seed, content = mutated(number)
    print(f"try\t{number}\t{target}\t{seed}", flush=True)
    _forget_peak()
    start = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        said = outcome(target, content, folder)
    except Exception as error:  # noqa: BLE001 - what is looked for
        place = traceback.extract_tb(error.__traceback__)[-1]
        said = f"crash {type(error).__name__}: {error} ({place.filename}:{place.lineno})"
    signal.setitimer(signal.ITIMER_PROF, 0)
    took = time.process_time() - start
    print(f"end\t{took:.3f}\t{_peak()}\t{' '.join(said.split())[:300]}", flush=True)


def _forget_peak() -> None:
    """Let the kernel count the most memory from here on."""
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """Return the most memory that this process has had since then, in KiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="headstart-fuzz-") as name:
        for each in range(int(sys.argv[1]), int(sys.argv[2])):
            _try(each, Path(name))
