"""A worker's task, called directly."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart._utils.files import sha256_file
from headstart.cluster import task
from headstart.cluster.task import Job
from tests.cluster import made
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def fresh() -> None:
    task._ready.clear()
    task._networks.clear()


@pytest.fixture
def job(network: Path, images: made.Images) -> Job:
    return {
        "run": "one",
        "record": made.record(network),
        "versions": made.VERSIONS,
        "network": str(network),
        "network_sha256": sha256_file(network),
        "images": str(images.folder),
        "size": made.SIZE,
        "gray16_bits": None,
        "shape": [256],
        "views": None,
    }


def item(images: made.Images, row: int, **changes: Any) -> Any:
    of: Any = images.rows.to_dict("records")[row]
    place = (of["shard"], of["offset"], of["bytes"])
    values = {"image_id": of["image_id"], "name": of["path"], "views": [0], "place": place}
    return {**values, "content": None, "address": None, **changes}


def test_features_of_images_and_of_views(job: Job, images: made.Images) -> None:
    answer = task.compute(job, [item(images, 0), item(images, 1)])
    assert answer["features"].shape == (2, 256)
    assert answer["features"].dtype == np.float32
    assert answer["seconds"] > 0
    assert answer["cut"] == {}
    viewed: Job = {**job, "run": "two", "views": made.views().plain()}
    viewed["record"] = made.views().record(job["record"])
    both = task.compute(viewed, [item(images, 0, views=[1, 2])])["features"]
    assert both.shape == (2, 256)
    assert not np.array_equal(both[0], both[1])


def test_a_fingerprint_that_differs_is_refused_with_what_differs(
    job: Job, images: made.Images
) -> None:
    for name, value in (("machine", "vax"), ("engine_versions", {"ai-edge-litert": "0.1"})):
        changed: Job = {**job, "record": {**job["record"], name: value}}
        refused = task.compute(changed, [item(images, 0)])["refused"]
        assert refused.startswith("its fingerprint differs: ")
        assert f"{name} is " in refused
    assert task.compute(job, [item(images, 0)])["features"].shape == (1, 256)


def test_every_image_is_checked_against_its_sha256(job: Job, images: made.Images) -> None:
    other = item(images, 1, image_id="0" * 64)
    assert task.compute(job, [other])["lacks"] == "images"
    spoiled = task.compute(job, [item(images, 1, content=b"something else")])
    assert spoiled["lacks"] == "images"
    assert "did not arrive intact" in spoiled["why"]
    assert task.compute(job, [item(images, 1, place=None)])["lacks"] == "images"


def test_a_network_of_another_content_is_not_used(
    job: Job, images: made.Images, tmp_path: Path, network: Path
) -> None:
    other = tmp_path / "network.tflite"
    other.write_bytes(network.read_bytes()[:-1])
    job = {**job, "network": str(other)}
    assert task.compute(job, [item(images, 0)])["lacks"] == "network"
    assert task.keep(network.read_bytes()) == job["network_sha256"]
    assert task.compute(job, [item(images, 0)])["features"].shape == (1, 256)


def test_shards_that_were_replaced_are_opened_again(
    job: Job, images: made.Images, tmp_path: Path
) -> None:
    folder = tmp_path / "shards"
    first = made.images(folder, 3)
    job = {**job, "images": str(folder)}
    task.compute(job, [item(first, 0)])
    folder.rename(tmp_path / "old")
    second = made.images(folder, 5)
    rows = [item(second, row) for row in range(5)]
    assert task.compute({**job, "run": "two"}, rows)["features"].shape == (5, 256)


def test_a_worker_remembers_few_jobs(job: Job, images: made.Images) -> None:
    for number in range(10):
        task.compute({**job, "run": str(number)}, [item(images, 0)])
        task.keep(hashlib.sha256(bytes([number])).digest())
    assert len(task._ready) <= 4
    assert len(task._networks) <= 4


def test_the_functions_go_by_their_import_names() -> None:
    """They pickle to a module and a name, and hold no code."""
    for function in (task.compute, task.keep):
        assert len(pickle.dumps(function)) < 80


def test_a_worker_imports_neither_dask_nor_tensorflow() -> None:
    code = "import sys, headstart.cluster.task; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"dask", "distributed", "tensorflow", "keras"} & set(done.stdout.split())
