"""Run a command in a separate session: pass on its lines, and end all that it started."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

# Interrupted stages keep what they have finished; those that do not listen are ended.
INTERRUPT_S = 5.0
TERMINATE_S = 3.0
_TICK_S = 0.1
_KILL = signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM
_SWEEP_S = 1.0
_DRAIN_S = 2.0  # for the last lines, where something that was started holds the pipe open
_LINE_BYTES = 20_000  # a longer line is cut: a log is no place for a file
_BREAK = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True)
class Ended:
    """The end of a command.

    Attributes
    ----------
    code : int
        Its exit code; negative: the signal that ended it.
    stopped, timed_out : bool
        Whether we ended it: because ``stop`` was set; because its time was over.
    """

    code: int
    stopped: bool = False
    timed_out: bool = False


def run(
    command: Sequence[str],
    *,
    folder: Path,
    on_line: Callable[[str], None],
    stop: threading.Event | None = None,
    timeout_s: float | None = None,
    environment: Mapping[str, str] | None = None,
    watchdog: bool = False,
    meanwhile: Callable[[], None] | None = None,
) -> Ended:
    """Run a command to its end, and pass on its lines (both streams, in the order of printing).

    Parameters
    ----------
    command : sequence of str
    folder : Path
        Where it runs.
    on_line : callable
        Called in this thread for each line, without its end. A carriage return ends a line too, so
        that progress bars are seen.
    stop : threading.Event or None
        Once set, the command and all that it started are ended: SIGINT, SIGTERM, SIGKILL.
    timeout_s : float or None
        Seconds after which it is ended in the same way.
    environment : mapping or None
        Variables over those of this process.
    watchdog : bool
        Give it a standard input that nothing is written to, and that closes when this process
        ends; see :mod:`headstart.pipeline.dvc_watchdog`.
    meanwhile : callable or None
        Called now and then in this thread, between lines.

    Raises
    ------
    OSError
        If it cannot be started.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    with subprocess.Popen(
        list(command),
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.PIPE if watchdog else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
        stopped = timed_out = False
        try:
            while not _deliver(lines, on_line, _TICK_S):
                if meanwhile is not None:
                    meanwhile()
                stopped = stop is not None and stop.is_set()
                timed_out = deadline is not None and time.monotonic() >= deadline
                if stopped or timed_out:
                    _end(process, lines, on_line)
                    break
                if process.poll() is not None:
                    _deliver(lines, on_line, _DRAIN_S)
                    break
            code = process.wait()
        finally:
            # Also after an exception of ours (Ctrl-C), and for what the command left behind.
            if process.poll() is None:
                _end(process, lines, lambda _: None)
            _sweep(process)
        return Ended(code, stopped=stopped, timed_out=timed_out and not stopped)


def _read(stream: IO[bytes], found: queue.SimpleQueue[str | None]) -> None:
    """Put the lines into the queue as they come; None after the last one."""
    rest = b""
    with contextlib.suppress(ValueError, OSError):  # closed in the meantime
        while piece := os.read(stream.fileno(), 65_536):
            *whole, rest = _BREAK.split(rest + piece)
            for line in whole:
                found.put(_text(line))
            if len(rest) > _LINE_BYTES:
                found.put(_text(rest))
                rest = b""
    if rest:
        found.put(_text(rest))
    found.put(None)


def _text(line: bytes) -> str:
    return line[:_LINE_BYTES].decode("utf-8", "replace").rstrip()


def _deliver(
    lines: queue.SimpleQueue[str | None], on_line: Callable[[str], None], seconds: float
) -> bool:
    """Pass on the lines that arrive within ``seconds``; return True if there will be no more."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        try:
            line = lines.get(timeout=left)
        except queue.Empty:
            return False
        if line is None:
            return True
        on_line(line)
    return False


def _end(
    process: subprocess.Popen[bytes],
    lines: queue.SimpleQueue[str | None],
    on_line: Callable[[str], None],
) -> None:
    """Send SIGINT, then SIGTERM, then SIGKILL; pass on the lines in between."""
    for number, seconds in ((signal.SIGINT, INTERRUPT_S), (signal.SIGTERM, TERMINATE_S)):
        _signal(process, number)
        until = time.monotonic() + seconds
        while time.monotonic() < until and process.poll() is None:
            if _deliver(lines, on_line, _TICK_S):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(until - time.monotonic(), 0.0))
        if process.poll() is not None:
            return
    _signal(process, _KILL)
    process.wait()


def _sweep(process: subprocess.Popen[bytes]) -> None:
    """End the processes that a command left behind."""
    until = time.monotonic() + _SWEEP_S
    while _signal(process, signal.SIGTERM) and time.monotonic() < until:
        time.sleep(_TICK_S)
    _signal(process, _KILL)


def _signal(process: subprocess.Popen[bytes], number: int) -> bool:
    """Signal the whole group, even if its first process is gone; return False if it is empty."""
    if sys.platform == "win32":
        process.terminate()
        return False
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does, so that it cleans up.

    A signal that is ignored stays ignored (``nohup``). Only the main thread can change this: in
    another one, nothing happens.
    """

    def interrupt(number: int, _: object) -> None:
        raise KeyboardInterrupt(number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, *([signal.SIGHUP] if sys.platform != "win32" else [])):
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
