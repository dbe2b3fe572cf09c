"""The stage on real networks: one pass an image, the same bytes always, no TensorFlow."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from headstart._utils.files import sha256_bytes
from headstart.backbones.litert import LiteRTFunction
from headstart.backbones.record import NETWORK, read_backbone, write_backbone
from headstart.datasets import manifests
from headstart.datasets.shards import ShardReader, ShardWriter
from headstart.features.extraction import extract, fingerprint_record
from headstart.features.folder import read_features
from headstart.features.forward_passes import Engine, ShardImages
from headstart.features.store import FeatureStore, estimate
from headstart.features.views import RecordedViews
from headstart.images.augmentation_parameters import AugmentParams
from headstart.pipeline.recipes import overlay
from tests.images.made import jpeg, png
from tests.stages.small_run import extract_params

ROOT = Path(__file__).resolve().parents[2]
COUNT = 60
SIZE = 64

#: The stage, which commits a hundred times a second, so that it can be killed between two commits.
STAGE = """
import runpy
from headstart.features import forward_passes
forward_passes.COMMIT_S = 0.01
runpy.run_module("stages.extract_features", run_name="__main__", alter_sys=True)
"""


class World:
    """A folder with images, a manifest and a backbone."""

    def __init__(self, folder: Path, backbone: Path) -> None:
        self.folder, self.backbone = folder, backbone
        self.images = folder / "images"
        self.manifest = folder / "sample.csv"
        self.run_statistics = folder / "run_statistics"

    def write_images(self, numbers: list[int], name: str = "image") -> None:
        """Write shards and manifest of JPEG and PNG images, a few of them identical."""
        self.images.mkdir(exist_ok=True, parents=True)
        shutil.rmtree(self.images)
        self.images.mkdir()
        rows: list[dict[str, Any]] = []
        with ShardWriter(self.images) as writer:
            for number in numbers:
                kind, make = ("jpeg", jpeg) if number % 3 else ("png", png)
                content = make(90 + number % 7, 70, seed=number)
                image_id = writer.add(content, "jpg" if kind == "jpeg" else "png")
                rows.append(
                    {
                        "image_id": image_id,
                        "path": f"{'ab'[number % 2]}/{name} {number:04}",
                        "label": "ab"[number % 2],
                        "predefined_split": "",
                        "width": 90,
                        "height": 70,
                        "format": kind,
                        "bytes": len(content),
                        "group": "",
                        "split": manifests.SPLITS[max(0, number % 6 - 3)],
                    }
                )
            places = writer.finish()
        for row in rows:
            place = places[row["image_id"]]
            row.update(shard=place.shard, offset=place.offset)
        rows.append({**rows[0], "path": f"{rows[0]['label']}/the same again"})
        manifests.write_split(self.manifest, manifests.frame(rows, manifests.SPLIT))

    def start(
        self, target: Path, backbone: Path | None = None, seed: int = 42, **changes: Any
    ) -> subprocess.Popen[str]:
        """Start the stage by its command line, with some parameters changed."""
        document = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        document["seed"] = seed
        document["extract_features"].update(changes)
        params = self.folder / "params.yaml"
        with params.open("w", encoding="utf-8") as stream:
            YAML().dump(document, stream)
        paths = {
            "images": self.images,
            "manifest": self.manifest,
            "backbone-folder": backbone or self.backbone,
            "runtime": ROOT / "runtime.txt",
            "features": target,
            "run-statistics": self.run_statistics,
            "params": params,
        }
        options = [f"--{name}={path}" for name, path in paths.items()]
        return subprocess.Popen(
            [sys.executable, "-c", STAGE, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def run(self, target: Path, backbone: Path | None = None, **changes: Any) -> dict[str, Any]:
        """Run the stage and return its run statistics."""
        process = self.start(target, backbone, **changes)
        said, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        run_statistics: dict[str, Any] = json.loads(
            (self.run_statistics / "extract_features.json").read_text()
        )
        return {**run_statistics, "said": said}

    def refused(self, target: Path, **changes: Any) -> str:
        process = self.start(target, None, **changes)
        errors = process.communicate(timeout=120)[1]
        assert process.returncode == 1
        assert "Traceback" not in errors
        assert not target.exists()
        return errors


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MobileNetV2 0.35 at 64 pixels with random weights, as the stage makes it."""
    folder = tmp_path_factory.mktemp("backbone")
    target, params = folder / "backbone", folder / "params.yaml"
    base = {"name": "mobilenet_v2", "alpha": 0.35, "weights": "random", "image_size": 64}
    params.write_text(overlay((ROOT / "params.yaml").read_text(), {"backbone": base}))
    subprocess.run(
        [sys.executable, "-m", "stages.backbone", "--runtime=runtime.txt", f"--params={params}",
         f"--backbone-folder={target}", f"--run-statistics={folder}"],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    return target


@pytest.fixture(scope="session")
def keras_backbone(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same backbone for the Keras engine."""
    folder = tmp_path_factory.mktemp("keras") / "backbone"
    shutil.copytree(backbone, folder)
    (folder / NETWORK).unlink()
    record = read_backbone(backbone).model_copy(
        update={"engine": "keras", "tflite_sha256": None, "parity": None}
    )
    write_backbone(folder, record)
    return folder


@pytest.fixture
def world(backbone: Path, tmp_path: Path) -> World:
    made = World(tmp_path / "world", backbone)
    made.write_images(list(range(COUNT)))
    return made


def test_the_features_and_what_the_run_says(world: World, tmp_path: Path) -> None:
    found = world.run(tmp_path / "features")
    assert re.match(
        rf"{COUNT + 1} images \(1 identical to others\): {COUNT} passed through the backbone, "
        r"0 cached \(\d+\.\d s, [\d,]+ per second\)\n",
        found["said"],
    )
    assert found["passes_done"] == found["passes_total_ever"] == COUNT
    assert (found["passes_cached"], found["images"]) == (0, COUNT + 1)
    features = read_features(tmp_path / "features")
    assert features.header.backbone.random_weights is True
    assert features.header.classes == ("a", "b")
    assert features.header.backbone.name == "mobilenet_v2"
    rows = manifests.read_split(world.manifest)
    network = LiteRTFunction(world.backbone / NETWORK)
    for split in manifests.SPLITS:
        of_split = rows[rows["split"] == split].reset_index(drop=True)
        table = features.rows(split)
        pd.testing.assert_frame_equal(table[["image_id", "label"]], of_split[["image_id", "label"]])
        assert (table["view"] == 0).all()
        with ShardReader(world.images) as reader:
            first = of_split.iloc[0]
            place = (int(first["shard"]), int(first["offset"]), int(first["bytes"]))
            content = reader.read(*place, str(first["image_id"]))
        from tests.images.made import pixels

        expected = network(pixels(content, SIZE)[np.newaxis])[0]
        assert features.array(split)[0].tobytes() == expected.tobytes()


def test_a_second_run_costs_no_pass_and_equals_a_cold_one(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.run(tmp_path / "cold")
    warm = world.run(tmp_path / "warm")
    assert (warm["passes_done"], warm["passes_cached"]) == (0, COUNT)
    assert contents(tmp_path / "warm") == contents(tmp_path / "cold")

    # Other names: no pass. 10 more images: 10. Every 5th: none, and the bytes of a cold run.
    world.write_images(list(range(COUNT)), name="renamed")
    assert world.run(tmp_path / "renamed")["passes_done"] == 0
    world.write_images([*range(COUNT), *range(1000, 1010)])
    assert world.run(tmp_path / "more")["passes_done"] == 10
    world.write_images(list(range(0, COUNT, 5)))
    assert world.run(tmp_path / "subset")["passes_done"] == 0
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "empty"))
    assert world.run(tmp_path / "subset cold")["passes_done"] == COUNT / 5
    assert contents(tmp_path / "subset") == contents(tmp_path / "subset cold")


def test_killed_at_random_moments_and_run_again(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write_images(list(range(400)))
    ids = list(manifests.read_split(world.manifest)["image_id"])
    chance = random.Random(7)
    record = fingerprint_record(read_backbone(world.backbone), "litert")
    done = [0]
    for _ in range(4):
        process = world.start(tmp_path / "features")
        while 400 - estimate(record, ids).missing <= done[-1]:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.002)
        time.sleep(chance.uniform(0.0, 0.05))
        process.kill()
        process.communicate()
        with FeatureStore(record, (1280,)) as store:
            done.append(store.passes)
            assert store.passes == 400 - len(store.missing(ids))
    assert done[-1] < 400
    assert not (tmp_path / "features").exists()
    last = world.run(tmp_path / "features")
    assert last["passes_total_ever"] == 400
    assert last["passes_done"] == 400 - done[-1]
    assert done == sorted(done)
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "empty"))
    world.run(tmp_path / "uninterrupted")
    assert contents(tmp_path / "features") == contents(tmp_path / "uninterrupted")


def turned(degrees: float) -> dict[str, Any]:
    """A section ``augment`` that turns and mirrors."""
    nothing = dict.fromkeys(("width_shift", "height_shift", "shear", "zoom"), 0)
    tone = {"brightness": 0, "contrast": 0}
    flips = {"horizontal_flip": True, "vertical_flip": False}
    return {"rotation": degrees, **nothing, **tone, **flips}


TRAIN = COUNT * 4 // 6  # different images of the training split; one of them stands there twice


def test_no_view_is_plain_to_the_byte(world: World, tmp_path: Path) -> None:
    world.run(tmp_path / "plain")
    assert "views" not in json.loads((tmp_path / "plain/features.json").read_text())
    again = world.run(tmp_path / "other", views=0, augment=turned(30), seed=7)
    assert again["passes_done"] == 0
    assert contents(tmp_path / "plain") == contents(tmp_path / "other")


def test_views_cost_what_they_must_and_no_pass_more(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.run(tmp_path / "plain", augment=turned(20))
    two = world.run(tmp_path / "two", views=2, augment=turned(20))
    assert (two["passes_done"], two["passes_cached"]) == (2 * TRAIN, COUNT)
    assert two["passes_total_ever"] == COUNT + 2 * TRAIN
    assert f"{2 * (TRAIN + 1)} views of images (2 identical to others): " in two["said"]
    # What is plain stays as it is, and stands first.
    plain, features = (read_features(tmp_path / name) for name in ("plain", "two"))
    for split in ("validation", "test"):
        assert features.array(split).tobytes() == plain.array(split).tobytes()
    train, count = features.array("train"), TRAIN + 1
    assert train.shape == (3 * count, 1280)
    assert train[:count].tobytes() == plain.array("train").tobytes()
    assert len({row.tobytes() for row in train}) == 3 * TRAIN
    pd.testing.assert_frame_equal(features.images("train"), plain.images("train"))

    # Nothing that was recorded passes again; what is new passes alone.
    assert world.run(tmp_path / "again", views=2, augment=turned(20))["passes_done"] == 0
    assert world.run(tmp_path / "three", views=3, augment=turned(20))["passes_done"] == TRAIN
    assert world.run(tmp_path / "back", views=2, augment=turned(20))["passes_done"] == 0
    assert world.run(tmp_path / "other", views=2, augment=turned(25))["passes_done"] == 2 * TRAIN
    assert (
        world.run(tmp_path / "seed", views=2, augment=turned(20), seed=43)["passes_done"]
        == 2 * TRAIN
    )
    world.write_images([*range(COUNT), *range(1000 - 1000 % 6, 1000 - 1000 % 6 + 3)])  # to train on
    assert world.run(tmp_path / "more", views=2, augment=turned(20))["passes_done"] == 3 * 3

    # And the bytes are those of a cold run.
    world.write_images(list(range(COUNT)))
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "empty"))
    cold = world.run(tmp_path / "cold", views=2, augment=turned(20))
    assert cold["passes_done"] == COUNT + 2 * TRAIN
    assert contents(tmp_path / "cold") == contents(tmp_path / "two") == contents(tmp_path / "back")


def test_flips_alone_never_pass_the_same_pixels_twice(world: World, tmp_path: Path) -> None:
    found = world.run(tmp_path / "features", views=6, augment=turned(0))
    features = read_features(tmp_path / "features")
    train = features.array("train").reshape(7, TRAIN + 1, -1)
    different = {row.tobytes() for row in train.reshape(7 * (TRAIN + 1), -1)}
    held_out = COUNT - TRAIN
    assert found["passes_done"] == len(different) + held_out
    assert TRAIN < len(different) <= 2 * TRAIN


def test_killed_among_the_views_it_goes_on(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting: dict[str, Any] = {"views": 20, "augment": turned(20)}
    world.run(tmp_path / "plain")
    views = RecordedViews.of(extract_params(views=20, augment=AugmentParams(**turned(20))), 42)
    record = views.record(fingerprint_record(read_backbone(world.backbone), "litert"))
    rows = manifests.read_split(world.manifest)
    ids = rows.loc[rows["split"] == "train", "image_id"].drop_duplicates()
    keys = [key for image_id in ids for key in views.keys(image_id)]
    process = world.start(tmp_path / "features", **setting)
    while estimate(record, keys).missing > len(keys) * 3 // 4:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.002)
    process.kill()
    process.communicate()
    missing = estimate(record, keys).missing
    assert 0 < missing < len(keys)
    assert not (tmp_path / "features").exists()
    last = world.run(tmp_path / "features", **setting)
    assert (last["passes_done"], last["passes_total_ever"]) == (missing, COUNT + len(keys))
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "empty"))
    world.run(tmp_path / "uninterrupted", **setting)
    assert contents(tmp_path / "features") == contents(tmp_path / "uninterrupted")


def test_views_that_change_nothing_are_refused(world: World, tmp_path: Path) -> None:
    nothing = {**turned(0), "horizontal_flip": False}
    process = world.start(tmp_path / "features", views=2, augment=nothing)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 2
    assert "`extract_features.augment` parameter must be a section that changes" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("count", [0, 2])
def test_the_bytes_of_litert_do_not_depend_on_threads(
    count: int, world: World, tmp_path: Path
) -> None:
    rows = manifests.read_split(world.manifest)
    views = RecordedViews.of(extract_params(views=count), 42) if count else None
    keys = [key for name in rows["image_id"] for key in (views.keys(name) if views else [name])]
    network = world.backbone / NETWORK
    found = set()
    for workers, threads, functions in ((1, 1, 1), (2, 1, 2), (4, 1, 4), (2, 2, 1), (2, 4, 2)):
        with (
            FeatureStore({"n": 1}, (1280,), tmp_path / f"{workers}{threads}") as store,
            ShardReader(world.images) as reader,
        ):
            engine = Engine(partial(LiteRTFunction, network, threads), SIZE, None, count=functions)
            images = ShardImages(rows, reader)
            extract(images, engine, store, "Test", workers=workers, views=views)
            found.add(sha256_bytes(b"".join(row.tobytes() for row in store.rows(keys))))
    assert len(found) == 1


def test_half_precision_costs_no_pass(world: World, tmp_path: Path) -> None:
    world.run(tmp_path / "single")
    assert world.run(tmp_path / "half", dtype="float16")["passes_done"] == 0
    single, half = read_features(tmp_path / "single"), read_features(tmp_path / "half")
    assert half.array("train").dtype == np.float16
    assert np.array_equal(half.array("train"), single.array("train").astype(np.float16))


def test_tensorflow_is_not_imported(world: World, tmp_path: Path) -> None:
    code = (
        "import sys, atexit\n"
        "atexit.register(lambda: print([m for m in ('tensorflow', 'keras') if m in sys.modules]))\n"
        "import runpy; runpy.run_module('stages.extract_features', run_name='__main__')"
    )
    process = world.start(tmp_path / "not used")
    options = [str(option) for option in process.args][3:]  # type: ignore[union-attr]
    process.kill()
    process.communicate()
    done = subprocess.run(
        [sys.executable, "-c", code, *options], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("[]\n")


KERAS = """
import os, sys
from pathlib import Path
from stages import extract_features
from headstart.stage.run_statistics import RunStatistics
from tests.stages.small_run import extract_params
from tests.stages.test_extract_features import COUNT, ROOT, World
folder, backbone = Path(sys.argv[1]), Path(sys.argv[2])
world = World(folder, backbone)
for name, numbers, store, views in (
    ("half", range(COUNT // 2), "one store", 0), ("warm", range(COUNT), "one store", 0),
    ("cold", range(COUNT), "another", 0), ("views", range(COUNT), "one store", 1),
):
    os.environ["HEADSTART_CACHE"] = str(folder / store)
    world.write_images(list(numbers))
    counted = RunStatistics(folder, name)
    extract_features.main(
        world.images, world.manifest, backbone, ROOT / "runtime.txt", folder / name,
        extract_params(engine="keras", views=views), 42, counted,
    )
    print(counted.counters["passes_done"], counted.counters["passes_cached"], file=sys.stderr)
"""


def test_the_keras_engine_agrees_and_does_not_depend_on_the_batch(
    world: World, keras_backbone: Path, tmp_path: Path
) -> None:
    augment = extract_params().augment.model_dump()
    world.run(tmp_path / "litert", views=1, augment=augment)
    # Four runs in one process: half of the images, the others too, all of them cold, and views.
    done = subprocess.run(
        [sys.executable, "-c", KERAS, str(tmp_path), str(keras_backbone)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    half = COUNT // 2
    assert done.stderr.splitlines()[-4:] == [
        f"{half} 0", f"{half} {half}", f"{COUNT} 0", f"{TRAIN} {COUNT}",
    ]  # fmt: skip
    assert contents(tmp_path / "warm") == contents(tmp_path / "cold")
    for split in manifests.SPLITS:
        one, two = (
            read_features(tmp_path / name).array(split).astype(np.float64)
            for name in ("litert", "views")
        )
        # Random weights leave some features all but constant: the scale is that of all of them.
        assert np.abs(one - two).max() < 1e-4 * one.std(axis=0).max()


def test_a_split_without_images_is_refused_before_any_pass(world: World, tmp_path: Path) -> None:
    rows = manifests.read_split(world.manifest)
    manifests.write_split(world.manifest, rows[rows["split"] != "validation"])
    assert "The validation split has no images" in world.refused(tmp_path / "features")
    assert not (Path(os.environ["HEADSTART_CACHE"]) / "features").exists()


def test_a_backbone_of_another_engine_is_refused(world: World, tmp_path: Path) -> None:
    said = world.refused(tmp_path / "features", engine="keras")
    assert "was made for the engine litert, and extract_features.engine is keras" in said


def test_an_image_that_is_not_in_its_shard_is_named(world: World, tmp_path: Path) -> None:
    rows = manifests.read_split(world.manifest)
    broken = rows.iloc[7]
    path = world.images / f"{broken['shard']:02}.zip"
    content = bytearray(path.read_bytes())
    content[int(broken["offset"]) + 20] ^= 0xFF
    path.write_bytes(content)
    said = world.refused(tmp_path / "features")
    assert str(broken["path"]) in said
    assert str(path.name) in said


def test_a_damaged_store_is_reported_and_filled_again(world: World, tmp_path: Path) -> None:
    world.run(tmp_path / "before")
    (store,) = (Path(os.environ["HEADSTART_CACHE"]) / "features").glob("*.sqlite")
    store.write_bytes(b"garbage" * 10_000)
    process = world.start(tmp_path / "after")
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 0
    assert "is damaged" in said
    assert store.with_name(f"{store.name}.damaged-1").exists()
    assert contents(tmp_path / "before") == contents(tmp_path / "after")
