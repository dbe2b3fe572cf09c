"""A Prefect flow: a task per image, whose result is cached by the image's SHA-256."""

from __future__ import annotations

from typing import Any

import numpy as np
import work
from prefect import flow, task
from prefect.cache_policies import INPUTS
from prefect.task_runners import ThreadPoolTaskRunner


@task(cache_policy=INPUTS, persist_result=True)
def features(name: str, sha256: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the features of an image; the SHA-256 is a part of the cache's key."""
    del sha256
    return work.features(name)


@flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
def pipeline() -> None:
    """Compute the features of all images."""
    waiting = {name: features.submit(name, work.sha256(name)) for name in work.names()}
    work.save({name: future.result() for name, future in waiting.items()})


if __name__ == "__main__":
    pipeline()
