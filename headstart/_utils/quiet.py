"""Suppress what native libraries write to file descriptor 2, past Python.

The text is discarded if the block succeeds and shown if it fails, so that the reason for a failure
is never lost.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# The descriptor belongs to the whole process: one block at a time. Re-entrant, for nested blocks.
_LOCK = threading.RLock()


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Swallow what the block writes to descriptor 2 (C++ log lines); replay it on an exception.

    The output of other threads is affected too: keep blocks short.
    """
    with _LOCK, tempfile.TemporaryFile() as sink:
        sys.stderr.flush()
        try:
            saved = os.dup(2)
        except OSError:  # The process has no standard error; there is nothing to suppress.
            yield
            return
        os.dup2(sink.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            if failed:
                sink.seek(0)
                os.write(2, sink.read())
