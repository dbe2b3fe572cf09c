"""A forked copy of this process: what is imported here need not be imported again.

Only for a process that has computed nothing yet: threads of a library do not survive the copy.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import BinaryIO, NoReturn


class Forked:
    """A forked process, with the part of :class:`subprocess.Popen` that its starter needs.

    Parameters
    ----------
    work : callable
        Run in the new process, which ends with it; its exit code is 1 if it raises.
    output : BinaryIO
        A file for what the process prints.

    Attributes
    ----------
    pid : int
    stdin : BinaryIO
        A pipe to the standard input of the process.
    returncode : int or None
        None while it has not been seen to end; negative: the signal that ended it.

    Raises
    ------
    OSError
        If the system makes no process.
    """

    def __init__(self, work: Callable[[], object], output: BinaryIO) -> None:
        read, write = os.pipe()
        sys.stdout.flush()  # So that the copy does not write it a second time.
        sys.stderr.flush()
        with warnings.catch_warnings():
            # Python 3.12 warns of threads: here, those of NumPy, which prepares for this.
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                self.pid = os.fork()
            except OSError:
                os.close(read)
                os.close(write)
                raise
        if self.pid == 0:
            _run(work, read, write, output.fileno())
        os.close(read)
        self.stdin: BinaryIO = os.fdopen(write, "wb", buffering=0)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code; None if the process still runs."""
        return self._ask(os.WNOHANG)

    def wait(self) -> int:
        """Wait for the end of the process; return its exit code."""
        code = self._ask(0)
        assert code is not None  # noqa: S101 - it was waited for; tells mypy
        return code

    def kill(self) -> None:
        """End the process if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the process if it still runs, and close the pipe."""
        self.kill()
        self.wait()
        self.stdin.close()

    def _ask(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def _run(work: Callable[[], object], given: int, other: int, output: int) -> NoReturn:
    """Work with other standard files, and leave without the clean-up that is the starter's."""
    code = 1
    try:
        os.close(other)
        for source, target in ((given, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        # New ones: the old ones may be a test's, or hold what was read already.
        sys.stdin = os.fdopen(0, closefd=False)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        work()
        code = 0
    except BaseException:  # noqa: BLE001 - nothing of it may reach the starter's code
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:  # noqa: BLE001 - a full disk; the starter's code must not go on here
            code = 1
        finally:
            os._exit(code)
