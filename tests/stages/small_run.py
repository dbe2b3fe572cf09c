"""A pipeline's files up to the trained head, small enough for a test, made by the real stages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from ruamel.yaml import YAML

from headstart._utils.files import atomic_folder, sha256_bytes
from headstart._utils.locks import exclusive_lock
from headstart.backbones.parameters import BackboneParams
from headstart.datasets import manifests
from headstart.datasets.shards import ShardWriter, shard_of
from headstart.features.parameters import ExtractFeaturesParams
from headstart.stage.run_statistics import RunStatistics
from headstart.training.model_folder import read_head, read_model, write_model
from headstart.training.parameters import ComputeParams, TrainHeadParams
from stages import backbone, extract_features, train_head
from tests.images.made import encoded
from tests.stages import sections

#: The files that decide bytes stand in the repository; stages check them in their command line.
ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "runtime.txt"
SEED = 42
COMPUTE = ComputeParams(threads=2)


@dataclass(frozen=True)
class SmallRun:
    """Paths of a run; ``folder`` holds all of them."""

    folder: Path

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def manifest(self) -> Path:
        return self.folder / "split.csv"

    @property
    def backbone(self) -> Path:
        return self.folder / "backbone"

    @property
    def features(self) -> Path:
        return self.folder / "features"

    @property
    def head(self) -> Path:
        return self.folder / "head"

    def run_statistics(self, stage: str) -> RunStatistics:
        return RunStatistics(self.folder / "run_statistics", stage)


def make(folder: Path, *, gray12: bool = False, **base: Any) -> SmallRun:
    """Images of three kinds, random MobileNetV2 0.35 at 32 pixels unless ``base`` says else.

    With ``gray12``, the images are gray, of 12 bits in 16.

    The default one is made once for all of the suite's processes; each caller has a copy. Others
    fill the caller's feature store, too.
    """
    if base or gray12:
        return _made(folder, base, gray12=gray12, environment=None)
    suite = Path(os.environ["HEADSTART_SUITE"])
    shared = suite / "small run"
    with exclusive_lock(suite / "small run.lock", "Another process makes the run. Waiting …"):
        if not (shared / "done").exists():
            shutil.rmtree(shared, ignore_errors=True)
            environment = {**os.environ, "HEADSTART_CACHE": str(shared / "cache")}
            _made(shared / "files", {}, gray12=False, environment=environment)
            (shared / "done").touch()
    shutil.copytree(shared / "files", folder, dirs_exist_ok=True)
    return SmallRun(folder)


def _made(
    folder: Path, base: dict[str, Any], *, gray12: bool, environment: dict[str, str] | None
) -> SmallRun:
    """Return a run that is made in a process of its own.

    The number of threads cannot be changed in one that has computed.
    """
    command = [sys.executable, "-m", "tests.stages.small_run", str(folder), json.dumps(base),
               str(int(gray12))]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return SmallRun(folder)


def stage(
    run: SmallRun, name: str, params: dict[str, dict[str, Any]], **paths: Path
) -> subprocess.CompletedProcess[str]:
    """Run a stage by its command line, with some values of params.yaml changed."""
    document = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for section, values in params.items():
        document[section] = {**document[section], **values}
    file = run.folder / f"params-{uuid.uuid4().hex}.yaml"
    with file.open("w", encoding="utf-8") as stream:
        YAML().dump(document, stream)
    options = [f"--{key.replace('_', '-')}={path}" for key, path in paths.items()]
    return subprocess.run(
        [sys.executable, "-m", f"stages.{name}", f"--params={file}", f"--runtime={RUNTIME}",
         *options],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


def _make(folder: Path, base: dict[str, Any], *, gray12: bool) -> None:
    from headstart.keras.runtime import configure

    configure(COMPUTE.threads)
    run = SmallRun(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _images(run, gray12=gray12)
    params = BackboneParams(
        **{
            "name": "mobilenet_v2",
            "alpha": 0.35,
            "weights": "random",
            "hub": None,
            "weights_sha256": None,
            "image_size": 32,
            "cut": None,
            "pooling": "avg",
            "gray16_bits": None,
            **base,
        }
    )
    extraction = extract_params()
    backbone.main(RUNTIME, run.backbone, SEED, params, extraction, run.run_statistics("backbone"))
    extract_features.main(
        run.images,
        run.manifest,
        run.backbone,
        RUNTIME,
        run.features,
        extraction,
        SEED,
        run.run_statistics("extract_features"),
    )
    train_head.main(
        run.features,
        RUNTIME,
        run.head,
        folder / "head_epochs.csv",
        folder / "head_batches.csv",
        SEED,
        head_params(),
        run.run_statistics("train_head"),
    )
    _spoil(run.head)


def _spoil(head: Path) -> None:
    """Make the head say the first class of nearly everything: on any machine it can be improved."""
    record = read_model(head)
    weights = read_head(head, record)
    last = len(record.head) - 1
    weights[f"{last}.kernel"] *= np.float32(0.01)
    weights[f"{last}.bias"] = np.array([3, 0, 0], np.float32)
    with atomic_folder(head) as folder:
        write_model(folder, record, weights)


def extract_params(**changes: Any) -> ExtractFeaturesParams:
    """No view, and changes for those that are asked for."""
    augment = sections.augment(
        rotation=20.0, width_shift=0.1, height_shift=0.1, zoom=0.1, horizontal_flip=True
    )
    values: dict[str, Any] = {
        "engine": "litert",
        "dtype": "float32",
        "views": 0,
        "augment": augment,
    }
    values |= {"cluster": None, **changes}
    return ExtractFeaturesParams(**values)


def head_params(**changes: Any) -> TrainHeadParams:
    return TrainHeadParams(
        **{
            "hidden": [],
            "normalization": "batch",
            "dropout": 0.2,
            "outputs": "classes",
            "activation": "softmax",
            "loss": "categorical_crossentropy",
            "label_smoothing": 0.0,
            "optimizer": "adam",
            "learning_rate": 0.01,
            "learning_rate_schedule": "constant",
            "weight_decay": 0.0,
            "batch_size": 16,
            "epochs": 5,
            "steps_per_epoch": None,
            "early_stopping_patience": None,
            "calibration": "none",
            "class_weights": "none",
            **changes,
        }
    )


def image(kind: int, number: int, side: int = 40) -> Image.Image:
    """Noise in a color of its kind, with a bright bar somewhere."""
    rng = np.random.default_rng((kind, number))
    pixels = rng.integers(0, 120, (side, side, 3), dtype=np.uint8)
    pixels[..., kind] += 80
    start = int(rng.integers(0, side - 6))
    pixels[start : start + 6] = 250
    return Image.fromarray(pixels)


def gray12_values(kind: int, number: int) -> npt.NDArray[np.uint16]:
    """Noise in 12 bits, of the size that the network sees, brighter in one stripe."""
    values = np.random.default_rng((kind, number)).integers(0, 2000, (32, 32), dtype=np.uint16)
    values[:, 10 * kind : 10 * kind + 10] += 2095
    values[0, 0] = 4095
    return values


def gray12_file(kind: int, number: int) -> bytes:
    return encoded(Image.fromarray(gray12_values(kind, number)), "PNG")


def _images(run: SmallRun, each: int = 16, *, gray12: bool) -> None:
    rows = []
    contents = {}
    for kind, label in enumerate(("blue bar", "green bar", "red bar")):
        for number in range(each):
            form = ("png", "jpeg")[number % 2]
            content = encoded(image(kind, number), form.upper())
            if gray12:
                form, content = "png", gray12_file(kind, number)
            split = ("train", "train", "validation", "test")[number % 4]
            image_id = sha256_bytes(content)
            contents[image_id] = (content, "png" if form == "png" else "jpg")
            rows.append(
                {
                    "image_id": image_id,
                    "path": f"{label}/{number:03}.{form}",
                    "label": label,
                    "predefined_split": "",
                    "width": 40,
                    "height": 40,
                    "format": form,
                    "bytes": len(content),
                    "group": "",
                    "shard": shard_of(image_id),
                    "split": split,
                }
            )
    run.images.mkdir()
    with ShardWriter(run.images) as writer:
        for content, extension in contents.values():
            writer.add(content, extension)
        places = writer.finish()
    full = [{**row, "offset": places[str(row["image_id"])].offset} for row in rows]
    manifests.write_split(run.manifest, manifests.frame(full, manifests.SPLIT))


if __name__ == "__main__":
    _make(Path(sys.argv[1]), json.loads(sys.argv[2]), gray12=sys.argv[3] == "1")
