"""Load exported formats in a fresh process, as any user would, and run them on images.

:func:`reader` starts the process and collects what it predicts. The process takes each format as it
comes: its name and path, a line of JSON on standard input. It knows nothing of the process that
wrote them: neither its objects nor its registered classes. On Linux it is a copy of that process,
made when TensorFlow was imported there and nothing was built yet, so that TensorFlow is imported
once. Elsewhere it imports what runs the formats while the first of them is written.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from subprocess import PIPE, STDOUT, Popen
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import HeadstartError
from headstart._utils.files import read_json, temporary_folder, write_json
from headstart._utils.forked import Forked
from headstart._utils.machine import cores
from headstart.export.formats import FORMATS, FormatName
from headstart.export.parity import Reading
from headstart.stage import watchdog

Pixels = npt.NDArray[np.uint8]

_OUTPUT = "output.txt"
_OUTPUT_SHOWN = 2000  # letters
#: The libraries of formats that TensorFlow runs.
_TENSORFLOW = {"tensorflow", "keras"}
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
    """The model to export.

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


class FreshProcess:
    """A fresh process that reads the formats one after the other; made by :func:`reader`.

    Attributes
    ----------
    process : Popen or Forked
    """

    def __init__(self, names: Sequence[FormatName], folder: Path) -> None:
        self._folder = folder
        self._asked: list[FormatName] = []
        # To a file: a pipe that nobody reads would fill up.
        with (folder / _OUTPUT).open("wb") as output:
            words = [sys.executable, "-c", _START, str(os.getpid()), str(folder), *names]
            self.process: Popen[bytes] | Forked = (
                Forked(partial(_follow, os.getpid(), folder, names), output)
                if _can_be_copied(names)
                else Popen(words, bufsize=0, stdin=PIPE, stdout=output, stderr=STDOUT)
            )

    def read(self, name: FormatName, path: Path) -> None:
        """Let the process load and run a format, without waiting for it."""
        self._asked.append(name)
        self._send({"name": name, "path": str(path)})

    def results(self) -> dict[FormatName, Reading]:
        """Return the predictions of all formats that were read.

        Raises
        ------
        HeadstartError
            If a format could not be loaded or run.
        """
        self._send(None)
        code = self.process.wait()
        if code != 0:
            raise self._failed(code)
        return {name: self._reading(name) for name in self._asked}

    def close(self) -> None:
        """End the process if it still runs."""
        self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()

    def _send(self, message: Any) -> None:
        assert self.process.stdin is not None  # noqa: S101 - a pipe, see above; tells mypy
        with suppress(BrokenPipeError):  # It has ended, and its output says why.
            self.process.stdin.write(json.dumps(message).encode() + b"\n")

    def _reading(self, name: FormatName) -> Reading:
        outputs: dict[str, npt.NDArray[np.float32]] = {
            way: np.load(self._folder / f"{name}.{way}.npy") for way in FORMATS[name].inputs
        }
        reasons = read_json(self._refused(name))
        return Reading(outputs, {int(place): why for place, why in reasons.items()})

    def _refused(self, name: FormatName) -> Path:
        return self._folder / f"{name}.refused.json"

    def _failed(self, code: int) -> HeadstartError:
        output = (self._folder / _OUTPUT).read_text("utf-8", "replace").strip()[-_OUTPUT_SHOWN:]
        lacking = [name for name in self._asked if not self._refused(name).exists()]
        name = lacking[0] if lacking else ", ".join(self._asked)
        return HeadstartError(
            f"The format {name} was written, but a fresh process could not load and run it "
            f"(exit code {code}). Nothing was exported. Its output:\n{output}\nIf memory is "
            "short, free some; otherwise remove the format from export.formats in params.yaml."
        )


def _can_be_copied(names: Sequence[FormatName]) -> bool:
    """Import TensorFlow if the formats need it; return whether a copy of this process may run them.

    It may if TensorFlow was not imported before and has no thread yet, so that nothing was built or
    computed with it. The driver of a GPU, which the import looks for, does not survive the copy.
    """
    if sys.platform != "linux" or "tensorflow" in sys.modules or not _need_tensorflow(names):
        return False
    from headstart.keras.runtime import has_started, physical_gpus

    return not has_started() and not physical_gpus()


def _need_tensorflow(names: Sequence[FormatName]) -> bool:
    return any(FORMATS[name].library in _TENSORFLOW for name in names)


def _follow(starter: int, folder: Path, names: Sequence[FormatName]) -> NoReturn:
    """Be the fresh process, as a copy of the one that started it."""
    watchdog.die_with_parent(starter, signal.SIGKILL)
    main(str(folder), *names)


@contextmanager
def reader(
    names: Sequence[FormatName], pixels: Pixels, contents: Sequence[bytes]
) -> Iterator[FreshProcess]:
    """Start a fresh process that runs formats on images; it ends with the block.

    Parameters
    ----------
    names : sequence of str
        The formats that may come.
    pixels : ndarray of shape (n, size, size, 3), uint8
    contents : sequence of bytes
        The files of the same images.
    """
    with temporary_folder("headstart-export") as folder:
        np.save(folder / "pixels.npy", pixels)
        for place, content in enumerate(contents):
            (folder / f"{place}.image").write_bytes(content)
        started = FreshProcess(names, folder)
        try:
            yield started
        finally:
            started.close()


def main(path: str, *names: FormatName) -> NoReturn:
    """Import, then run each format that comes on the images in the folder."""
    folder = Path(path)
    lines: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    if _need_tensorflow(names):
        from headstart.keras.runtime import configure

        configure(cores())  # Before anything else of TensorFlow.
    read: dict[str, Reader] = {name: resolve(FORMATS[name].reader) for name in names}
    pixels = np.load(folder / "pixels.npy")
    contents = [(folder / f"{place}.image").read_bytes() for place in range(len(pixels))]
    while (message := json.loads(lines.get())) is not None:
        name = message["name"]
        found = read[name](Path(message["path"]), pixels, contents)
        for way, output in found.outputs.items():
            np.save(folder / f"{name}.{way}.npy", output)
        reasons = {str(place): why for place, why in found.refused.items()}
        write_json(folder / f"{name}.refused.json", reasons)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # TensorFlow's own teardown takes a second.


def _listen(lines: SimpleQueue[str]) -> None:
    """Pass on the lines, and end this process with the one that started it."""
    for line in sys.stdin:
        lines.put(line)
    os._exit(143)
