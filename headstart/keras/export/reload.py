"""Loads an exported form as a stranger would, runs it on images, and ends.

``python -m headstart.keras.export.reload FORM`` imports what runs the form, then waits for one
line of JSON on standard input (:class:`Task`) and leaves the probabilities where it says. A
process of its
own knows nothing of the one that wrote the form: neither its objects nor its registered classes.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from headstart._utils.files import write_json
from headstart._utils.machine import cores
from headstart._utils.quiet import quiet_stderr
from headstart.export.formats import FORMATS, FormatName

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Task:
    """What to load, what to run it on, and where the answers go. Paths as text, for JSON.

    Attributes
    ----------
    path : str
        The form.
    pixels : str
        ``.npy``, uint8 (n, size, size, 3).
    encoded : str
        The files of the same images, one after the other.
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
        """The files of the images."""
        with Path(self.encoded).open("rb") as file:
            return [file.read(length) for length in self.lengths]


def main(name: FormatName) -> None:
    """Import, wait for the task, do it."""
    prepared = _LIBRARIES[FORMATS[name].library]()
    line = sys.stdin.readline()
    if not line:  # Whoever started this process has given up.
        return
    threading.Thread(target=_end_with_the_starter, daemon=True).start()
    task = Task(**json.loads(line))
    prepared(task, Path(task.answers))


def _end_with_the_starter() -> None:
    sys.stdin.read()
    os._exit(143)


Run = Callable[[Task, Path], None]


def _tensorflow() -> Run:
    model = _model_io()

    def run(task: Task, answers: Path) -> None:
        loaded = model.load_saved_model(Path(task.path))
        np.save(answers / "pixels.npy", model.run_pixels(loaded, np.load(task.pixels)))
        found, refused = model.run_bytes(loaded, task.contents())
        np.save(answers / "encoded.npy", found)
        write_json(answers / "refused.json", {str(place): why for place, why in refused.items()})

    return run


def _keras() -> Run:
    model = _model_io()

    def run(task: Task, answers: Path) -> None:
        loaded = model.load_keras(Path(task.path))
        np.save(answers / "pixels.npy", model.run_keras(loaded, np.load(task.pixels)))

    return run


def _model_io() -> Any:
    from headstart.keras.runtime import configure  # isort: skip - before anything else of TensorFlow

    configure(cores())
    from headstart.keras.export import model

    return model


def _litert() -> Run:
    from ai_edge_litert.interpreter import Interpreter

    def run(task: Task, answers: Path) -> None:
        with quiet_stderr():  # XNNPACK announces itself.
            network = Interpreter(model_path=task.path, num_threads=cores())
            network.allocate_tensors()
        given = network.get_input_details()[0]["index"]
        result = network.get_output_details()[0]["index"]
        found = []
        for image in np.load(task.pixels):
            network.set_tensor(given, image[None])
            network.invoke()
            found.append(network.get_tensor(result)[0])
        np.save(answers / "pixels.npy", np.stack(found))

    return run


def _onnxruntime() -> Run:
    import onnxruntime

    def run(task: Task, answers: Path) -> None:
        session = onnxruntime.InferenceSession(task.path, providers=["CPUExecutionProvider"])
        pixels = np.load(task.pixels)
        found = [
            session.run(None, {"pixels": pixels[start : start + 32]})[0]
            for start in range(0, len(pixels), 32)
        ]
        np.save(answers / "pixels.npy", np.concatenate(found))

    return run


_LIBRARIES: dict[str, Callable[[], Run]] = {
    "tensorflow": _tensorflow,
    "keras": _keras,
    "litert": _litert,
    "onnxruntime": _onnxruntime,
}


def _leave(arguments: Sequence[str]) -> None:
    main(cast("FormatName", arguments[0]))
    sys.stdout.flush()
    sys.stderr.flush()
    # TensorFlow's own teardown takes a second.
    os._exit(0)


if __name__ == "__main__":
    _leave(sys.argv[1:])
