"""Load exported formats in fresh processes, as any user would, and run them on images.

:func:`readers` starts the processes and collects what they predict. A process (``python -m
headstart.keras.export.reload FORMAT``) imports what runs the format, then waits for one line of
JSON on standard input (:class:`Task`). It knows nothing of the process that wrote the format:
neither its objects nor its registered classes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import HeadstartError
from headstart._utils.files import read_json, write_json
from headstart._utils.machine import cores
from headstart.export.formats import FORMATS, FormatName
from headstart.export.parity import Reading

Pixels = npt.NDArray[np.uint8]

#: Processes that compute at the same time: each loads a model and uses all cores.
_AT_ONCE = 2
_OUTPUT_SHOWN = 2000  # letters


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
    """

    model: Any
    classes: tuple[str, ...]
    calibration: Pixels | None


Writer = Callable[[Source, Path], None]
Reader = Callable[[Path, Pixels, Sequence[bytes]], Reading]


def resolve(function: str) -> Any:
    """Import a writer or reader that the table of formats names as ``MODULE:FUNCTION``."""
    module, _, name = function.partition(":")
    return getattr(import_module(f"headstart.keras.export.{module}"), name)


@dataclass(frozen=True)
class Task:
    """A format to load, the images to run it on, and where to write. Paths as text, for JSON.

    Attributes
    ----------
    path : str
        The file or folder of the format.
    pixels : str
        ``.npy``, uint8 (n, size, size, 3).
    encoded : str
        The files of the same images, concatenated.
    lengths : list of int
        Bytes of each of them.
    answers : str
        Folder for ``pixels.npy``, ``encoded.npy`` and ``refused.json``.
    """

    path: str
    pixels: str
    encoded: str
    lengths: list[int]
    answers: str

    def contents(self) -> list[bytes]:
        """Return the files of the images."""
        with Path(self.encoded).open("rb") as file:
            return [file.read(length) for length in self.lengths]


class _Process:
    """A process that imports what a format needs and waits."""

    def __init__(self, name: FormatName, folder: Path) -> None:
        self.name = name
        self._answers = folder / name
        self._answers.mkdir()
        self._output = (folder / f"{name}.txt").open("w+b")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "headstart.keras.export.reload", name],
            stdin=subprocess.PIPE,
            stdout=self._output,
            stderr=self._output,
        )

    def send(self, path: Path, images: Mapping[str, str], lengths: list[int]) -> None:
        task = Task(path=str(path), lengths=lengths, answers=str(self._answers), **images)
        assert self._process.stdin is not None  # noqa: S101 - a pipe, see above; tells mypy
        try:
            self._process.stdin.write(json.dumps(asdict(task)).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._fail()

    def result(self) -> Reading:
        if self._process.wait() != 0:
            self._fail()
        outputs: dict[str, npt.NDArray[np.float32]] = {
            way: np.load(self._answers / f"{way}.npy") for way in FORMATS[self.name].inputs
        }
        reasons = read_json(self._answers / "refused.json")
        return Reading(outputs, {int(place): why for place, why in reasons.items()})

    def _fail(self) -> None:
        code = self._process.wait()
        self._output.seek(0)
        output = self._output.read().decode("utf-8", "replace").strip()[-_OUTPUT_SHOWN:]
        raise HeadstartError(
            f"The format {self.name} was written, but a fresh process could not load and run it "
            f"(exit code {code}). Nothing was exported. Its output:\n{output}\nIf memory is short, "
            "free some; otherwise remove the format from export.formats in params.yaml."
        )

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):  # Unread input of a killed process is lost.
                self._process.stdin.close()
        self._output.close()


class Readers:
    """Fresh processes, one per format; made by :func:`readers`."""

    def __init__(self, names: Sequence[FormatName], folder: Path) -> None:
        self._folder = folder
        self._images: dict[str, str] = {}
        self._lengths: list[int] = []
        self._all: list[_Process] = []
        self._busy: list[_Process] = []
        self._found: dict[FormatName, Reading] = {}
        self._names = list(names)
        # Their imports take seconds: the first process imports while the caller does, the second
        # while the caller writes.
        self._ready = {name: self._start(name) for name in names[:1]}

    def show(self, pixels: Pixels, contents: Sequence[bytes]) -> None:
        """Set the images that all formats are run on; to be called before :meth:`read`."""
        self._images = {way: str(self._folder / f"{way}.in") for way in ("pixels", "encoded")}
        with Path(self._images["pixels"]).open("wb") as file:
            np.save(file, pixels)
        Path(self._images["encoded"]).write_bytes(b"".join(contents))
        self._lengths = [len(content) for content in contents]
        self._ready |= {name: self._start(name) for name in self._names[1:_AT_ONCE]}

    def read(self, name: FormatName, path: Path) -> None:
        """Have a format loaded and run, while the caller continues."""
        while len(self._busy) >= _AT_ONCE:
            self._collect()
        process = self._ready.pop(name, None) or self._start(name)
        process.send(path, self._images, self._lengths)
        self._busy.append(process)

    def results(self) -> dict[FormatName, Reading]:
        """Return the predictions of all formats.

        Raises
        ------
        HeadstartError
            If a format could not be loaded or run.
        """
        while self._busy:
            self._collect()
        return self._found

    def close(self) -> None:
        """End the processes that still run."""
        for process in self._all:
            process.close()

    def _start(self, name: FormatName) -> _Process:
        process = _Process(name, self._folder)
        self._all.append(process)
        return process

    def _collect(self) -> None:
        process = self._busy.pop(0)
        self._found[process.name] = process.result()


@contextmanager
def readers(names: Sequence[FormatName]) -> Iterator[Readers]:
    """Start fresh processes for some formats; none is left behind."""
    with tempfile.TemporaryDirectory(prefix="headstart-export-") as folder:
        started = Readers(names, Path(folder))
        try:
            yield started
        finally:
            started.close()


def main(name: FormatName) -> None:
    """Import, wait for the task, run it."""
    if FORMATS[name].library in {"tensorflow", "keras"}:
        from headstart.keras.runtime import configure

        configure(cores())  # Before anything else of TensorFlow.
    read: Reader = resolve(FORMATS[name].reader)
    line = sys.stdin.readline()
    if not line:  # The process that started this one has given up.
        return
    threading.Thread(target=_end_with_the_starter, daemon=True).start()
    task = Task(**json.loads(line))
    found = read(Path(task.path), np.load(task.pixels), task.contents())
    answers = Path(task.answers)
    for way, output in found.outputs.items():
        np.save(answers / f"{way}.npy", output)
    write_json(answers / "refused.json", {str(place): why for place, why in found.refused.items()})


def _end_with_the_starter() -> None:
    sys.stdin.read()
    os._exit(143)


if __name__ == "__main__":
    main(cast("FormatName", sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # TensorFlow's own teardown takes a second.
