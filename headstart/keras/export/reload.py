"""Load exported formats in fresh processes, as any user would, and run them on images.

:func:`readers` starts the processes and collects what they predict. A process imports what runs the
format, then waits for its path, a line of JSON on standard input. It knows nothing of the process
that wrote the format: neither its objects nor its registered classes.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from subprocess import PIPE, STDOUT, Popen
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import HeadstartError
from headstart._utils.files import read_json, temporary_folder, write_json
from headstart._utils.machine import cores
from headstart.export.formats import FORMATS, FormatName
from headstart.export.parity import Reading

Pixels = npt.NDArray[np.uint8]

#: Processes that exist at the same time: each loads a model and uses all cores.
_AT_ONCE = 2
_OUTPUT_SHOWN = 2000  # letters
#: The watchdog comes first: the imports take seconds, in which no other thread may run.
_START = """\
import signal, sys
from headstart.stage import watchdog
watchdog.die_with_parent(int(sys.argv[1]), getattr(signal, "SIGKILL", signal.SIGTERM))
from headstart.keras.export import reload
reload.main(*sys.argv[2:])
"""


@dataclass(frozen=True)
class Source:
    """What is exported.

    Attributes
    ----------
    model : keras.Model
        Pixels to probabilities (:func:`headstart.keras.export.classifier.classifier`).
    classes : tuple of str
    calibration : ndarray of shape (n, size, size, 3), uint8, or None
        Training images, which int8 needs.
    gray16_bits : int or None
        Bits of white in 16-bit gray images, for formats that decode images.
    """

    model: Any
    classes: tuple[str, ...] = ()
    calibration: Pixels | None = None
    gray16_bits: int | None = None


Writer = Callable[[Source, Path], None]
Reader = Callable[[Path, Pixels, Sequence[bytes]], Reading]


def resolve(function: str) -> Any:
    """Import a writer or reader that the table of formats names as ``MODULE:FUNCTION``."""
    module, _, name = function.partition(":")
    return getattr(import_module(f"headstart.keras.export.{module}"), name)


class Readers:
    """Fresh processes, one per format and two at a time; made by :func:`readers`.

    The first two import what they need while the caller writes the formats.

    Attributes
    ----------
    processes : list of Popen
        Those that were started.
    """

    def __init__(self, names: Sequence[FormatName], folder: Path) -> None:
        self.processes: list[Popen[bytes]] = []
        self._folder = folder
        self._paths: dict[FormatName, Future[Path | None]] = {name: Future() for name in names}
        self._workers = ThreadPoolExecutor(_AT_ONCE)
        self._readings = {name: self._workers.submit(self._read, name) for name in names}

    def read(self, name: FormatName, path: Path | None) -> None:
        """Have a format loaded and run, or left out (None), while the caller continues."""
        self._paths[name].set_result(path)

    def results(self) -> dict[FormatName, Reading]:
        """Return the predictions of all formats that were not left out.

        Raises
        ------
        HeadstartError
            If a format could not be loaded or run.
        """
        found = {name: reading.result() for name, reading in self._readings.items()}
        return {name: reading for name, reading in found.items() if reading is not None}

    def close(self) -> None:
        """End the processes that still run."""
        self._workers.shutdown(wait=False, cancel_futures=True)
        for path in self._paths.values():
            if not path.done():
                path.set_result(None)
        for process in self.processes:
            process.kill()
        self._workers.shutdown()

    def _read(self, name: FormatName) -> Reading | None:
        command = [sys.executable, "-c", _START, str(os.getpid()), name, str(self._folder)]
        with Popen(command, bufsize=0, stdin=PIPE, stdout=PIPE, stderr=STDOUT) as process:
            self.processes.append(process)
            path = self._paths[name].result()
            if path is None:
                process.kill()
                return None
            assert process.stdin is not None  # noqa: S101 - a pipe, see above; tells mypy
            assert process.stdout is not None  # noqa: S101 - as above
            with suppress(BrokenPipeError):  # It has ended, and its output says why.
                process.stdin.write(json.dumps(str(path)).encode() + b"\n")
            output = process.stdout.read().decode("utf-8", "replace").strip()[-_OUTPUT_SHOWN:]
            code = process.wait()
        if code != 0:
            raise HeadstartError(
                f"The format {name} was written, but a fresh process could not load and run it "
                f"(exit code {code}). Nothing was exported. Its output:\n{output}\nIf memory is "
                "short, free some; otherwise remove the format from export.formats in params.yaml."
            )
        outputs: dict[str, npt.NDArray[np.float32]] = {
            way: np.load(self._folder / f"{name}.{way}.npy") for way in FORMATS[name].inputs
        }
        reasons = read_json(self._folder / f"{name}.refused.json")
        return Reading(outputs, {int(place): why for place, why in reasons.items()})


@contextmanager
def readers(
    names: Sequence[FormatName], pixels: Pixels, contents: Sequence[bytes]
) -> Iterator[Readers]:
    """Start fresh processes for some formats, which run on some images; none is left behind.

    Parameters
    ----------
    names : sequence of str
    pixels : ndarray of shape (n, size, size, 3), uint8
    contents : sequence of bytes
        The files of the same images.
    """
    with temporary_folder("headstart-export") as folder:
        np.save(folder / "pixels.npy", pixels)
        for place, content in enumerate(contents):
            (folder / f"{place}.image").write_bytes(content)
        started = Readers(names, folder)
        try:
            yield started
        finally:
            started.close()


def main(name: FormatName, path: str) -> NoReturn:
    """Import, wait for the path of the format, run it on the images in the folder."""
    folder = Path(path)
    paths: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(paths,), daemon=True).start()
    if FORMATS[name].library in {"tensorflow", "keras"}:
        from headstart.keras.runtime import configure

        configure(cores())  # Before anything else of TensorFlow.
    read: Reader = resolve(FORMATS[name].reader)
    line = paths.get()
    pixels = np.load(folder / "pixels.npy")
    contents = [(folder / f"{place}.image").read_bytes() for place in range(len(pixels))]
    found = read(Path(json.loads(line)), pixels, contents)
    for way, output in found.outputs.items():
        np.save(folder / f"{name}.{way}.npy", output)
    reasons = {str(place): why for place, why in found.refused.items()}
    write_json(folder / f"{name}.refused.json", reasons)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # TensorFlow's own teardown takes a second.


def _listen(paths: SimpleQueue[str]) -> None:
    """Take the path, and end this process with the one that started it."""
    for line in sys.stdin:
        paths.put(line)
    os._exit(143)
