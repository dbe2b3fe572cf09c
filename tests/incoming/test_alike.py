from __future__ import annotations

import numpy as np

from headstart.incoming.alike import distances


def test_distance_is_0_for_copies_and_1_for_unrelated_images() -> None:
    references = np.eye(6, 8, dtype=np.int16)[:, :] * 500
    references[1:5] = references[0]
    far = np.zeros((1, 8), np.int16)
    far[0, 7] = 500
    found = distances(np.concatenate([references[:1], far]), references)
    assert found.tolist() == [0.0, 1.0]
