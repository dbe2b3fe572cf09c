"""A tensor of a network in ONNX's format, and a use of an operation: what translations work with.

ONNX puts the channels of a map second, TensorFlow computes with channels last. A map therefore
stays channels last until an operation needs it in ONNX's order, and two reorderings in a row
disappear.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.keras.runtime import tf


class UnsupportedError(Exception):
    """An operation, or a way of using it, that is not translated; a sentence without a period."""


@dataclass(frozen=True)
class Value:
    """A tensor of the network.

    Attributes
    ----------
    tensor : tf.Tensor or ndarray
        An array is known before any image is.
    last : bool
        True if it is a map whose channels are last, where ONNX has them second.
    """

    tensor: Any
    last: bool = False

    @property
    def known(self) -> bool:
        """Whether it depends on no image and no weight with two or more axes."""
        return isinstance(self.tensor, np.ndarray)

    @property
    def plain(self) -> Any:
        """The tensor in ONNX's order."""
        return tf.transpose(self.tensor, (0, 3, 1, 2)) if self.last else self.tensor

    @property
    def map(self) -> Any:
        """The tensor with channels last; fewer axes are filled up as in a broadcast."""
        if self.last:
            return self.tensor
        array, rank = self.tensor, len(self.tensor.shape)
        if rank < 4:
            array = tf.reshape(array, [1] * (4 - rank) + [int(side) for side in array.shape])
        return tf.transpose(array, (0, 2, 3, 1))

    @property
    def numbers(self) -> list[Any]:
        """The numbers of a known tensor, such as sizes and axes."""
        if not self.known:
            raise UnsupportedError("it needs a size that depends on the image")
        return list(np.atleast_1d(self.tensor).tolist())


@dataclass(frozen=True)
class Call:
    """A use of an operation: its options and its inputs, None where one is left out."""

    options: dict[str, Any]
    inputs: tuple[Value | None, ...]

    @property
    def first(self) -> Value:
        """The first input, which every operation with inputs has."""
        found = self.inputs[0]
        if found is None:
            raise UnsupportedError("its first input is left out")
        return found

    def input(self, place: int) -> Value | None:
        """Return an input that may be left out."""
        return self.inputs[place] if place < len(self.inputs) else None

    def numbers(self, place: int, name: str, default: Any = None) -> Any:
        """Return what newer versions of an operation have as an input, older ones as an option."""
        given = self.input(place)
        return self.options.get(name, default) if given is None else given.numbers


#: What TensorFlow computes for a use of an operation; several values for "Split" alone.
Translation = Callable[[Call], Value | list[Value]]
