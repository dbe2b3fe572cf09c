"""Worker processes give what the calling thread would, and end with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from headstart._utils.errors import ImageError
from headstart._utils.workers import calling, worker_processes

_KILLED = """
import os, signal
from headstart._utils.workers import worker_processes

if __name__ == "__main__":
    with worker_processes(1) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def refuse(reason: str) -> None:
    raise ImageError(reason, "it is too dark")


@pytest.mark.parametrize("processes", [0, 2])
def test_functions_are_called_here_or_there(processes: int) -> None:
    with calling(processes) as call, ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda n: call(divmod, n, 7), range(50)))
        assert (call(os.getpid) == os.getpid()) is (processes == 0)
        with pytest.raises(ImageError, match="too_small: it is too dark") as caught:
            call(refuse, "too_small")
    assert found == [divmod(n, 7) for n in range(50)]
    assert (caught.value.reason, caught.value.detail) == ("too_small", "it is too dark")


def test_they_end_at_once_if_the_block_fails() -> None:
    with pytest.raises(KeyboardInterrupt), worker_processes(1) as pool:
        worker = psutil.Process(pool.submit(os.getpid).result())
        pool.submit(time.sleep, 600)
        raise KeyboardInterrupt
    assert psutil.wait_procs([worker], timeout=60)[1] == []


def test_they_end_when_the_process_is_killed() -> None:
    command = [sys.executable, "-c", _KILLED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode < 0
    deadline = time.monotonic() + 60
    while psutil.pid_exists(int(done.stdout)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(int(done.stdout))
