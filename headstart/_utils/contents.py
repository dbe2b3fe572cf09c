"""Contents of files that are read one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload


class Contents(Sequence[bytes]):
    """Bytes that are read when they are asked for.

    Parameters
    ----------
    calls : sequence of (function, arguments)
        Read the bytes of each.
    """

    def __init__(self, calls: Sequence[tuple[Callable[..., bytes], tuple[Any, ...]]]) -> None:
        self._calls = calls

    def __len__(self) -> int:
        return len(self._calls)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [function(*values) for function, values in self._calls[index]]
        function, values = self._calls[index]
        return function(*values)
