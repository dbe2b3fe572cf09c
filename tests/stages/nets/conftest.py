"""TensorFlow takes its number of threads once a process: here, before any test computes with it."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def _configured() -> None:
    from stages.nets.tf import configure

    configure(threads=2)
