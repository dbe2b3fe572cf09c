"""Starts the processes that load exported formats, and collects what these say of images."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import HeadstartError
from headstart._utils.files import read_json
from headstart.export.formats import FORMATS, FormatName
from headstart.keras.export import reload

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

#: Processes that compute at the same time: each loads a model and uses all cores.
_AT_ONCE = 2
_SHOWN = 2000


@dataclass(frozen=True)
class Reading:
    """What a form said of the images.

    Attributes
    ----------
    outputs : mapping of str to ndarray of shape (n_images, n_classes), float32
        By the way in: ``pixels``, and for the SavedModel ``encoded``, NaN where it refused a file.
    refused : mapping of int to str
        Position of each file that it refused, and why.
    """

    outputs: Mapping[str, Floats]
    refused: Mapping[int, str] = field(default_factory=dict)


class _Process:
    """A process that imports what a form needs and waits."""

    def __init__(self, name: FormatName, folder: Path) -> None:
        self.name = name
        self._answers = folder / name
        self._answers.mkdir()
        self._said = (folder / f"{name}.txt").open("w+b")
        self._process = subprocess.Popen(
            [sys.executable, "-m", reload.__name__, name],
            stdin=subprocess.PIPE,
            stdout=self._said,
            stderr=self._said,
        )

    def send(self, path: Path, images: Mapping[str, str], lengths: list[int]) -> None:
        task = reload.Task(path=str(path), lengths=lengths, answers=str(self._answers), **images)
        assert self._process.stdin is not None  # noqa: S101 - asked for above; tells mypy
        try:
            self._process.stdin.write(json.dumps(asdict(task)).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._fail()

    def result(self) -> Reading:
        if self._process.wait() != 0:
            self._fail()
        outputs: dict[str, Floats] = {
            way: np.load(self._answers / f"{way}.npy") for way in FORMATS[self.name].inputs
        }
        refused = self._answers / "refused.json"
        reasons = read_json(refused) if refused.is_file() else {}
        return Reading(outputs, {int(place): why for place, why in reasons.items()})

    def _fail(self) -> None:
        code = self._process.wait()
        self._said.seek(0)
        said = self._said.read().decode("utf-8", "replace").strip()[-_SHOWN:]
        raise HeadstartError(
            f"The format {self.name} was written, but a fresh process could not load and run it "
            f"(exit code {code}). Nothing was exported. It said:\n{said}\nIf memory is short, "
            "free some; else take the format out of export.formats in params.yaml."
        )

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):  # What was not taken is lost, as it should be.
                self._process.stdin.close()
        self._said.close()


class Readers:
    """Fresh processes, one a form; made by :func:`readers`."""

    def __init__(self, names: Sequence[FormatName], folder: Path) -> None:
        self._folder = folder
        self._images: dict[str, str] = {}
        self._lengths: list[int] = []
        self._all: list[_Process] = []
        self._busy: list[_Process] = []
        self._found: dict[FormatName, Reading] = {}
        self._names = list(names)
        # What they import takes seconds: the first does it while the caller imports, the second
        # while the caller writes.
        self._ready = {name: self._start(name) for name in names[:1]}

    def show(self, pixels: Pixels, contents: Sequence[bytes]) -> None:
        """Say which images all formats are to be run on; before the first :meth:`read`."""
        self._images = {way: str(self._folder / f"{way}.in") for way in ("pixels", "encoded")}
        with Path(self._images["pixels"]).open("wb") as file:
            np.save(file, pixels)
        Path(self._images["encoded"]).write_bytes(b"".join(contents))
        self._lengths = [len(content) for content in contents]
        self._ready |= {name: self._start(name) for name in self._names[1:_AT_ONCE]}

    def read(self, name: FormatName, path: Path) -> None:
        """Have a form loaded and run, while the caller goes on."""
        while len(self._busy) >= _AT_ONCE:
            self._collect()
        process = self._ready.pop(name, None) or self._start(name)
        process.send(path, self._images, self._lengths)
        self._busy.append(process)

    def results(self) -> dict[FormatName, Reading]:
        """What all of them said.

        Raises
        ------
        HeadstartError
            If a form could not be loaded or run.
        """
        while self._busy:
            self._collect()
        return self._found

    def close(self) -> None:
        """End what still runs."""
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
    """Fresh processes for some formats; none is left behind."""
    with tempfile.TemporaryDirectory(prefix="headstart-export-") as folder:
        started = Readers(names, Path(folder))
        try:
            yield started
        finally:
            started.close()
