"""The main job on photographs with ImageNet weights: passes, crashes, fine-tuning, real scores."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.checkout import Checkout
from headstart.backbones.record import read_backbone
from headstart.datasets.manifests import read_images, read_rejected
from headstart.evaluation.recorded import read_evaluation
from headstart.features.extraction import fingerprint_record
from headstart.features.store import FeatureStore, estimate
from tests.runs.server import until
from tests.test_end_to_end import lock, stages_that_ran, table

pytestmark = [pytest.mark.pipeline, pytest.mark.shared, pytest.mark.timeout(1800)]
A_CLASS = 150
BROKEN = {"Cat/666_.jpg", "Cat/Thumbs.db", "Dog/11702.jpg", "Dog/Thumbs.db"}


def metrics(checkout: Checkout) -> dict[str, Any]:
    return read_evaluation(checkout.folder / "data/metrics/evaluate.json")


@pytest.fixture(scope="module")
def photographs(
    shared: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, bytes]]:
    """Class folders of cats and dogs with the four broken files, and 40 more images."""
    folder = tmp_path_factory.mktemp("photographs")
    more: dict[str, bytes] = {}
    counts = {"Cat": 0, "Dog": 0}
    with zipfile.ZipFile(shared / "datasets" / "cats-dogs.zip") as archive:
        for name in sorted(archive.namelist()):
            label, file = name.split("/")[-2:]
            place = f"{label}/{file}"
            if place not in BROKEN:
                counts[label] += 1
                if counts[label] > A_CLASS + 20:
                    continue
                if counts[label] > A_CLASS:
                    more[place] = archive.read(name)
                    continue
            (folder / label).mkdir(exist_ok=True)
            (folder / place).write_bytes(archive.read(name))
    return folder, more


@pytest.fixture(scope="module")
def project(
    photographs: tuple[Path, dict[str, bytes]],
    imagenet_home: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Checkout:
    checkout = configured(tmp_path_factory.mktemp("run"), photographs[0], imagenet_home)
    checkout.repro()
    return checkout


def configured(folder: Path, images: Path, home: Path) -> Checkout:
    checkout = Checkout(folder / "project", folder / "store", home)
    checkout.set(
        download__source="folder",
        download__location=str(images),
        split__validation=0.2,
        split__test=0.2,
        backbone__name="mobilenet_v2",
        backbone__alpha=0.35,
        backbone__weights="imagenet",
        backbone__image_size=112,  # Keras takes the weights for 224
        fine_tune__epochs=2,
        fine_tune__unfreeze_by="block",
        fine_tune__unfreeze=1,
    )
    return checkout


def test_transfer_shows_and_what_is_no_image_is_rejected(project: Checkout) -> None:
    found = metrics(project)
    assert not found["random_weights"]
    assert found["head"]["accuracy"] > 0.75
    assert found["model"]["accuracy"] > 0.75
    aside = read_rejected(project.folder / "data/manifests/rejected.csv")
    assert set(aside["path"]) == BROKEN
    exported = json.loads((project.folder / "data/metrics/export.json").read_text())
    assert exported["formats"]["keras"]["pixels"]["same_first_guess_share"] == 1.0
    assert exported["formats"]["saved_model"]["encoded"]["same_first_guess_share"] >= 0.95


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills a process group")
def test_killed_at_random_moments_it_goes_on_to_the_same_bytes(
    project: Checkout,
    photographs: tuple[Path, dict[str, bytes]],
    imagenet_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkout = configured(tmp_path, photographs[0], imagenet_home)
    monkeypatch.setenv("HEADSTART_CACHE", checkout.environment["HEADSTART_CACHE"])
    images = project.folder / "data/manifests/images.csv"
    ids = sorted(set(read_images(images)["image_id"]))
    record = fingerprint_record(read_backbone(project.folder / "data/backbone"), "litert")
    chance = random.Random(7)

    def recorded() -> int:
        return len(ids) - estimate(record, ids).missing

    def reached(least: int) -> bool:
        return recorded() >= least

    def come(moment: float, before: int) -> bool:
        return time.monotonic() > moment or recorded() > before

    # Twice whenever it may be, but before a fast machine is through with the images: dvc alone is
    # killed, so its stage has to notice by itself. Then in the middle of the extraction: both are.
    for least in (None, None, 1, len(ids) // 3):
        before, moment = recorded(), time.monotonic() + chance.uniform(2, 9)
        with subprocess.Popen(
            ["dvc", "repro"], cwd=checkout.folder, env=checkout.environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        ) as dvc:  # fmt: skip
            extracting: list[psutil.Process] = []
            if least is None:
                until(partial(come, moment, before), 60, "its moment comes")
            else:
                extracting = held_when(checkout, partial(reached, least))
                assert least <= recorded() < len(ids), "the kill would not hit the extraction"
            os.kill(dvc.pid, signal.SIGKILL)
            for process in extracting:
                process.kill()
        until(lambda: not stages_alive(checkout), 10, "the stages end")
    checkout.repro()
    assert lock(checkout) == lock(project)
    backbone = read_backbone(checkout.folder / "data/backbone")
    assert fingerprint_record(backbone, "litert") == record
    with FeatureStore(record, backbone.feature_shape) as store:
        assert store.passes == len(ids)
    assert recorded() == len(ids)


def test_new_images_cost_a_pass_each_and_renamed_ones_none(
    project: Checkout, photographs: tuple[Path, dict[str, bytes]]
) -> None:
    folder, more = photographs
    for place, content in more.items():
        (folder / place).write_bytes(content)
    project.run("dvc", "repro", "extract_features")
    assert base_passes(project) == len(more) == 40
    first = sorted((folder / "Cat").glob("*.jpg"))[3]
    first.rename(folder / "Cat" / "renamed.jpg")
    _, output = project.run("dvc", "repro", "extract_features")
    assert {"download", "extract_features"} <= set(stages_that_ran(output))
    assert base_passes(project) == 0


def base_passes(checkout: Checkout) -> int:
    """Of the latest extraction, by its own run statistics."""
    entry = json.loads((checkout.folder / "data/run_statistics/extract_features.json").read_text())
    return int(entry["passes_done"])


def stages_alive(checkout: Checkout, name: str = "") -> list[psutil.Process]:
    """Processes of this checkout that run a stage, or the one of this name."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            is_here = Path(process.cwd()) == checkout.folder.resolve()
            if is_here and f"stages.{name}" in " ".join(process.cmdline()):
                found.append(process)
    return found


def held_when(checkout: Checkout, is_so: Callable[[], bool]) -> list[psutil.Process]:
    """The processes of the extraction, stopped at the first moment at which it is so.

    They run for 20 ms at a time, so that the moment is not missed on a busy machine.
    """
    until(lambda: stages_alive(checkout, "extract_features"), 120, "the stage begins")
    end = time.monotonic() + 120
    while True:
        extracting = stages_alive(checkout, "extract_features")
        for process in extracting:
            process.suspend()
        if is_so():
            return extracting
        assert extracting, "the extraction ended before"
        assert time.monotonic() < end, "not within 120 s"
        for process in extracting:
            process.resume()
        time.sleep(0.02)


@pytest.mark.slow
def test_cats_and_dogs_as_the_recipe_says(
    shared: Path, imagenet_home: Path, tmp_path: Path
) -> None:
    checkout = Checkout(tmp_path / "project", tmp_path / "store", imagenet_home)
    location = shared / "datasets" / "cats-dogs.zip"
    checkout.run("headstart", "recipe", "cats-dogs", "--set", f"download.location={location}")
    checkout.repro()
    whole = metrics(checkout)
    assert whole["head"]["accuracy"] >= 0.97
    assert table(checkout)["passes_done"] == 4000
    checkout.set(sample__train_per_class=100, sample__validation_per_class=20)
    checkout.repro()
    part = metrics(checkout)
    assert table(checkout)["passes_done"] == 0
    assert part["test_images"] == whole["test_images"]
    assert part["train_images"] == 200
