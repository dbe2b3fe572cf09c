"""A converted network as a function on arrays, by LiteRT: no TensorFlow, 0.1 s to load.

Images pass one at a time, whatever the batch: the bits of the result depend neither on the batch
nor on the number of threads, and are equal on the common CPUs.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from headstart._utils.errors import CorruptFileError, HeadstartError
from headstart._utils.machine import cores
from headstart._utils.quiet import quiet_stderr

#: Memory that interpreters may take together: an eighth of the machine's, at least this.
_LEAST_BUDGET = 1 << 30
#: What an interpreter takes in addition to twice the size of its file (the weights as they are,
#: and once more in the order in which its kernels read them): its activations.
_ACTIVATIONS = 32 << 20


class LiteRTFunction:
    """A ``.tflite`` file with one input and one output.

    One instance serves one thread: the interpreter keeps its activations in itself. Give each
    worker an instance of its own (they are cheap: the weights of a file are mapped, not copied).

    Parameters
    ----------
    source : Path or bytes
        The file, or its content.
    threads : int
        CPU threads that work on one image. Several instances with one thread each do more
        images a second than one instance with several.

    Attributes
    ----------
    input_shape : tuple of int
        Without the batch: ``(size, size, 3)`` for pixels.
    output_shape : tuple of int
        Without the batch: ``(features,)``, or the map ``(height, width, channels)``.
    input_dtype : numpy dtype
        ``uint8`` for pixels, ``float32`` for activations.

    Raises
    ------
    CorruptFileError
        If the content is not a network that LiteRT can run.
    """

    def __init__(self, source: Path | bytes, threads: int = 1) -> None:
        from ai_edge_litert.interpreter import Interpreter

        given = (
            {"model_content": source} if isinstance(source, bytes) else {"model_path": str(source)}
        )
        name = "the network" if isinstance(source, bytes) else str(source)
        if isinstance(source, Path) and not source.is_file():
            raise HeadstartError(
                f"There is no converted network at {source}. The stage `backbone` writes it "
                "(`dvc repro backbone`)."
            )
        try:
            with quiet_stderr():  # XNNPACK announces itself.
                self._interpreter = Interpreter(num_threads=threads, **given)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise CorruptFileError(
                f"LiteRT cannot load {name}: {error} The file is damaged, or of another LiteRT. "
                "Run the stage that made it again."
            ) from error
        inputs, outputs = (
            self._interpreter.get_input_details(),
            self._interpreter.get_output_details(),
        )
        if len(inputs) != 1 or len(outputs) != 1 or inputs[0]["shape"][0] != 1:
            raise CorruptFileError(
                f"{name}: expected one input for one image and one output; it has {len(inputs)} "
                f"inputs, {len(outputs)} outputs."
            )
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]
        self.input_shape = tuple(int(side) for side in inputs[0]["shape"][1:])
        self.output_shape = tuple(int(side) for side in outputs[0]["shape"][1:])
        self.input_dtype: np.dtype[np.generic] = np.dtype(inputs[0]["dtype"])

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Run the network on each entry of a batch.

        Parameters
        ----------
        batch : ndarray of shape (n, *input_shape), input_dtype

        Returns
        -------
        ndarray of shape (n, *output_shape), float32

        Raises
        ------
        ValueError
            If the shape or the dtype differs.
        """
        if batch.shape[1:] != self.input_shape or batch.dtype != self.input_dtype:
            raise ValueError(
                f"expected {self.input_dtype} images of shape {self.input_shape}, "
                f"got a batch of {batch.dtype} and shape {batch.shape}"
            )
        results = np.empty((len(batch), *self.output_shape), dtype=np.float32)
        for index in range(len(batch)):
            self._interpreter.set_tensor(self._input, batch[index : index + 1])
            self._interpreter.invoke()
            results[index] = self._interpreter.get_tensor(self._output)[0]
        return results


def interpreters(network_bytes: int, workers: int) -> tuple[int, int]:
    """Return how many interpreters to run at once, and the threads of each.

    One per core with one thread each handles most images per second. With a large network there
    are fewer, so that their memory stays bounded, and they share the cores. The bits are the same.

    Parameters
    ----------
    network_bytes : int
        Size of the network's file.
    workers : int
        Threads that call the interpreters.
    """
    budget = _LEAST_BUDGET
    with contextlib.suppress(AttributeError, OSError, ValueError):  # Windows has no sysconf.
        budget = max(budget, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 8)
    count = max(1, min(workers, budget // (2 * network_bytes + _ACTIVATIONS)))
    return count, max(1, workers // count)


class LiteRTPool:
    """A network that several threads may call at once.

    Attributes
    ----------
    count : int
        Calls that run at the same time.
    output_shape : tuple of int
        Shape of the output for one image.
    """

    def __init__(self, network: Path) -> None:
        self.count, threads = interpreters(network.stat().st_size, cores())
        self._free: SimpleQueue[LiteRTFunction] = SimpleQueue()
        for _ in range(self.count):
            function = LiteRTFunction(network, threads)
            self.output_shape = function.output_shape
            self._free.put(function)

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """Return the network's output; wait while all interpreters are in use."""
        function = self._free.get()
        try:
            return function(batch)
        finally:
            self._free.put(function)
