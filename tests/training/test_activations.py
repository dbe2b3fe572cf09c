"""Activations: recorded once, in bounded memory, and refused where there is no room for them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from headstart._utils.errors import HeadstartError
from headstart.backbones.litert import LiteRTPool
from headstart.features.store import FeatureStore
from headstart.images.augmentation_parameters import AugmentParams
from headstart.training import activations
from headstart.training.activations import (
    LiveViews,
    arrays,
    check_room,
    rows_at_once,
    run_network,
)
from tests.features.test_extraction import Memory
from tests.images.made import encoded, gray16, pixels
from tests.stages.small_run import ROOT, image
from tools.contract import code_dependencies

SIZE = 8
COUNT = 11
FLIP: dict[str, Any] = {
    "rotation": 0.0,
    "width_shift": 0.0,
    "height_shift": 0.0,
    "shear": 0.0,
    "zoom": 0.0,
    "horizontal_flip": True,
    "vertical_flip": False,
    "brightness": 0.0,
    "contrast": 0.0,
}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pixels to their double, as maps of 4 x 4 with 12 channels."""
    from headstart.keras.networks.conversion import to_tflite
    from headstart.keras.runtime import keras

    entry = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    doubled = keras.layers.Rescaling(2.0)(entry)
    path = tmp_path_factory.mktemp("network") / "lower.tflite"
    path.write_bytes(to_tflite(keras.Model(entry, keras.layers.Reshape((4, 4, 12))(doubled))))
    return path


@pytest.fixture(scope="module")
def images() -> tuple[Memory, pd.DataFrame]:
    reader = Memory()
    reader.contents = {f"{n:064x}": encoded(image(n % 3, n), "PNG") for n in range(COUNT)}
    rows = pd.DataFrame({"image_id": list(reader.contents), "shard": 0, "offset": 0, "bytes": 0})
    return reader, rows


def decoded(images: tuple[Memory, pd.DataFrame]) -> np.ndarray:
    reader, rows = images
    return np.stack([pixels(reader.contents[i], SIZE) for i in rows["image_id"]])


def test_recorded_ones_are_the_network_on_the_images(
    network: Path, images: tuple[Memory, pd.DataFrame], tmp_path: Path
) -> None:
    reader, rows = images
    parts = {"train": rows[:8], "validation": rows[8:]}
    expected = run_network(LiteRTPool(network), decoded(images))
    for done in (COUNT, 0):
        found, passes = arrays(network, parts, reader, SIZE, None, tmp_path)
        assert (passes.done, passes.cached) == (done, COUNT - done)
        assert np.array_equal(found["train"], expected[:8])
        assert np.array_equal(found["validation"], expected[8:])


def test_without_a_network_they_are_the_pixels(
    images: tuple[Memory, pd.DataFrame], tmp_path: Path
) -> None:
    reader, rows = images
    found, passes = arrays(None, {"train": rows}, reader, SIZE, None, tmp_path)
    assert passes.done == 0
    assert np.array_equal(found["train"], decoded(images))


def test_the_bits_of_gray_reach_the_pixels_the_network_and_its_store(
    network: Path, tmp_path: Path
) -> None:
    values = np.random.default_rng(5).integers(0, 4096, (3, SIZE, SIZE), np.uint16)
    reader = Memory()
    reader.contents = {f"{n:064x}": gray16(each) for n, each in enumerate(values)}
    rows = pd.DataFrame({"image_id": list(reader.contents), "shard": 0, "offset": 0, "bytes": 0})
    expected = np.repeat(values[..., None] // 16, 3, axis=3).astype(np.uint8)
    with LiveViews(rows, reader, SIZE, 12) as views:
        assert np.array_equal(views.take(range(3), 1), expected)
    found, _ = arrays(None, {"train": rows}, reader, SIZE, 12, tmp_path)
    assert np.array_equal(found["train"], expected)
    reader.contents = {f"{n + 90:064x}": gray16(each) for n, each in enumerate(values)}
    rows["image_id"] = list(reader.contents)
    for bits in (None, 12):  # Each has features of its own, whichever was first.
        found, passes = arrays(network, {f"train{bits}": rows}, reader, SIZE, bits, tmp_path)
        assert passes.done == 3
    assert np.array_equal(found["train12"], run_network(LiteRTPool(network), expected))


def test_views_without_changes_are_the_images_and_each_pass_counts(
    network: Path, images: tuple[Memory, pd.DataFrame]
) -> None:
    reader, rows = images
    with LiveViews(rows, reader, SIZE, None, network=network) as views:
        taken = views.take([3, 1, 3], 1)
    assert np.array_equal(taken, run_network(LiteRTPool(network), decoded(images)[[3, 1, 3]]))
    assert views.passes == 3


def test_augmented_views_are_the_same_for_the_same_epoch(
    images: tuple[Memory, pd.DataFrame],
) -> None:
    reader, rows = images
    with LiveViews(rows, reader, SIZE, None, AugmentParams(**FLIP), seed=1) as views:
        first, again, next_epoch = (views.take(range(COUNT), epoch) for epoch in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, next_epoch)


@pytest.mark.parametrize(
    ("row", "rows"), [(0, 1 << 26), (4_000, 16_777), (3_211_264, 20), (1 << 26, 1), (1 << 30, 1)]
)
def test_memory_is_bounded_by_bytes(row: int, rows: int) -> None:
    assert rows_at_once(row) == rows


def short_of_room(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    usage = shutil.disk_usage(ROOT)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)


def test_no_room_is_reported_before_the_first_pass(
    network: Path,
    images: tuple[Memory, pd.DataFrame],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, rows = images
    short_of_room(monkeypatch, 1 << 20)
    read = len(reader.reads)
    with pytest.raises(HeadstartError) as caught:
        arrays(network, {"train": rows}, reader, SIZE, None, tmp_path)
    for part in ("The activations need", "1 MB is free", "HEADSTART_CACHE", "unfreeze fewer"):
        assert part in str(caught.value)
    with pytest.raises(HeadstartError, match="The decoded images need"):
        arrays(None, {"train": rows}, reader, SIZE, None, tmp_path)
    assert len(reader.reads) == read


def test_what_is_recorded_needs_no_room_in_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [f"{n:064x}" for n in range(3)]
    with FeatureStore({"made": "for this"}, (4,)) as store:
        for image_id in ids:
            store.put_many([(image_id, np.zeros(4))])
        short_of_room(monkeypatch, 0)
        check_room(store, ids)
        with pytest.raises(HeadstartError, match="The activations need"):
            check_room(store, [*ids, "f" * 64])


def test_activations_that_fill_a_disk_are_reported(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ids = [f"{n:064x}" for n in range(3)]
    with FeatureStore({"made": "for this, too"}, (4,)) as store:
        short_of_room(monkeypatch, 1 << 40)
        check_room(store, ids, tmp_path)
        assert not capsys.readouterr().out
        monkeypatch.setattr(activations, "_WORTH_A_MESSAGE", 47)
        check_room(store, ids, tmp_path)
    said = capsys.readouterr().out
    assert "The activations of 3 images take" in said
    assert str(tmp_path) in said


def test_only_evaluation_and_what_follows_depends_on_metrics() -> None:
    before = ("download", "split", "sample", "backbone", "extract_features", "train_head")
    for stage in (*before, "fine_tune"):
        rooms = code_dependencies(stage)
        assert not {"headstart/evaluation", "headstart/report"} & set(rooms)
    assert "headstart/evaluation" in code_dependencies("evaluate")


def test_the_module_needs_no_tensorflow() -> None:
    code = "import sys, headstart.training.activations; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"tensorflow", "keras"} & set(done.stdout.split())
