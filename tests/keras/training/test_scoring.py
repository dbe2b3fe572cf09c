from __future__ import annotations

import numpy as np
import pytest

from headstart.keras.training.batches import BatchSource
from headstart.keras.training.scoring import at_once


@pytest.mark.parametrize(
    ("shape", "rows"),
    [((1280,), 256), ((224, 224, 3), 34), ((28, 28, 1024), 6), ((4096, 4096, 3), 1)],
)
def test_large_rows_are_scored_few_at_once(shape: tuple[int, ...], rows: int) -> None:
    array = np.broadcast_to(np.float32(0), (1, *shape))
    source = BatchSource.of_array(array, np.zeros(1), resident_bytes=0)
    assert at_once(source) == rows


def test_rows_of_unknown_size_are_scored_few_at_once() -> None:
    source = BatchSource.of_function(lambda rows, _: np.zeros((len(rows), 9)), np.zeros(99))
    assert at_once(source) == 32
