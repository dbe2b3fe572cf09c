"""From 12-bit images in 16 to an exported model: every way to pixels gives the same."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

import headstart as hs
from headstart.backbones.litert import LiteRTFunction
from headstart.datasets.manifests import read_split
from headstart.datasets.shards import ShardReader
from headstart.evaluation.predictions import read_predictions
from headstart.export.formats import FORMATS
from headstart.export.record import read_exported
from headstart.features.folder import read_features
from headstart.images.decode import Limits
from headstart.images.resize import spec
from headstart.serving.models import load_classifier
from headstart.serving.service import Service, Settings
from tests.stages import small_run
from tests.stages.small_run import ROOT, SmallRun, gray12_file, stage
from tests.stages.test_export import evaluated, exported

#: The parts have quick tests of their own, each beside its module.
pytestmark = pytest.mark.slow

BITS = 12
#: TensorFlow stays in a process of its own, as it does for those who use the folder.
SERVED = """
import sys
import numpy as np
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
contents = [open(path, "rb").read() for path in sys.argv[3:]]
answer = model.signatures["serving_default"](content=tf.constant(contents))
np.save(sys.argv[2], answer["probabilities"].numpy())
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    """With an exported model, whose backbone was fine-tuned from pixels up."""
    folder = tmp_path_factory.mktemp("run") / "files"
    run = small_run.make(folder, gray12=True, gray16_bits=BITS)
    tuning = {"epochs": 1, "learning_rate": 1e-4, "batch_size": 8}
    done = stage(
        run, "fine_tune", {"fine_tune": tuning},
        images=run.images, manifest=run.manifest, backbone_folder=run.backbone, head=run.head,
        features=run.features, model=run.folder / "tuned",
        epoch_history=run.folder / "epochs.csv", run_statistics=run.folder / "run_statistics",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    evaluated(run, "tuned")
    done = exported(run, "tuned", "export", formats=["saved_model", "tflite_float32"])
    assert done.returncode == 0, done.stderr
    return run


@cache
def contents(run: SmallRun) -> dict[str, bytes]:
    """The files by their path."""
    rows = read_split(run.manifest)
    with ShardReader(run.images) as reader:
        places = rows[["path", "shard", "offset", "bytes", "image_id"]].itertuples(index=False)
        return {str(path): reader.read(*place) for path, *place in places}


def plain(run: SmallRun, paths: pd.Series) -> npt.NDArray[np.uint8]:
    """The pixels of images of kind and number, computed from the numbers that were written."""
    found = []
    for path in paths:
        label, number = str(path).removesuffix(".png").split("/")
        kind = ("blue bar", "green bar", "red bar").index(label)
        assert contents(run)[path] == gray12_file(kind, int(number))
        found.append(small_run.gray12_values(kind, int(number)) // 16)
    return np.repeat(np.stack(found)[..., None], 3, axis=-1).astype(np.uint8)


def test_features_are_those_of_the_stretched_pixels(run: SmallRun) -> None:
    network = LiteRTFunction(run.backbone / "backbone.tflite")
    rows, features = read_split(run.manifest), read_features(run.features)
    for name in ("train", "validation", "test"):
        paths = rows.set_index("image_id")["path"].loc[features.rows(name)["image_id"]]
        expected = np.concatenate([network(each[None]) for each in plain(run, paths)])
        assert np.array_equal(features.array(name), expected)


def test_the_exported_model_is_the_evaluated_one_in_every_way(
    run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run.folder / "export"
    record = read_exported(folder)
    assert record.backbone.gray16_bits == BITS
    assert record.pixels == spec(BITS)
    predictions = read_predictions(run.folder / "tuned-predictions", record.classes)
    paths = predictions.rows["path"]
    network = LiteRTFunction(folder / FORMATS["tflite_float32"].path)
    expected = np.concatenate([network(each[None]) for each in plain(run, paths)])
    np.testing.assert_allclose(predictions.model, expected, atol=1e-5)

    files = [contents(run)[path] for path in paths]
    assert np.array_equal(hs.load_model(folder).predict_proba(files), expected)
    classifier = load_classifier(folder)
    service = Service(classifier, Settings(limits=Limits()))
    decoded = np.stack([service._pixels(content) for content in files])
    assert np.array_equal(decoded, plain(run, paths))

    named = []
    for number, content in enumerate(files):
        (tmp_path / f"{number}.png").write_bytes(content)
        named.append(str(tmp_path / f"{number}.png"))
    target = tmp_path / "served.npy"
    command = [sys.executable, "-c", SERVED, str(folder / "saved_model"), str(target), *named]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(target), expected, atol=1e-5)

    code = re.search(
        "```python\n(import json.*?)```", (folder / "README.md").read_text(), re.DOTALL
    )
    assert code is not None
    (tmp_path / "image.jpg").write_bytes(files[0])
    (tmp_path / "labels.json").write_text(json.dumps(list(record.classes)))
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(compile(code[1], "README.md", "exec"), found)  # noqa: S102 - a page of ours
    assert np.array_equal(np.stack([found["read"](name) for name in named]), plain(run, paths))


def test_predict_warns_of_a_model_without_the_parameter_alone(run: SmallRun) -> None:
    folder, name = run.folder / "export", "image.png"
    (run.folder / name).write_bytes(next(iter(contents(run).values())))
    command = [sys.executable, "-m", "headstart", "predict", "--model", str(folder), name]

    def said() -> str:
        done = subprocess.run(
            command, cwd=run.folder, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stderr

    assert "gray16_bits" not in said()
    path = folder / "model.json"
    document = json.loads(path.read_text())
    kept = path.read_text()
    document["backbone"]["gray16_bits"] = None
    path.write_text(json.dumps(document))
    try:
        assert "uses 12 of 16 bits at most" in said()
        assert "train it with `backbone.gray16_bits`" in said()
    finally:
        path.write_text(kept)


def test_the_extractor_of_the_interface_uses_it(run: SmallRun) -> None:
    extractor = hs.FeatureExtractor(image_size=32, gray16_bits=BITS)
    paths = read_split(run.manifest)["path"][:2]
    files = [contents(run)[path] for path in paths]
    got = extractor.transform([*files, *plain(run, paths)])
    assert np.array_equal(got[:2], got[2:])
    dark = hs.FeatureExtractor(image_size=32).transform(files)
    assert not np.allclose(dark, got[:2])
