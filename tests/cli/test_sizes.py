"""`headstart sizes`: the trained weights behind images of other sizes."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from headstart._utils.errors import HeadstartError, ParameterError
from headstart._utils.files import read_json
from headstart.backbones.registry import HUB
from headstart.datasets.manifests import read_split
from headstart.export.record import read_exported
from headstart.keras.export.export import Model
from headstart.keras.export.resizing import check_sizes, evaluated_rows
from tests.cli import running
from tests.conftest import ROOT
from tests.runs import projects
from tests.stages import recorded, small_run
from tests.stages.small_run import SmallRun
from tests.training import models

run = partial(running.run, "sizes")


def trained(name: str = "mobilenet_v2", shape: tuple[int, ...] = (1280,), size: int = 224) -> Model:
    pooling = "avg" if len(shape) == 1 else "none"
    backbone = models.backbone(
        name=name, alpha=1.0, image_size=size, pooling=pooling, feature_shape=shape
    )
    return Model(models.record(), backbone, Path("model"), Path("backbone"))


def test_a_map_that_is_flattened_has_one_size() -> None:
    with pytest.raises(HeadstartError, match=r"only at 224 pixels.*7 × 7 × 1280.*pooling` to avg"):
        check_sizes(trained(shape=(7, 7, 1280)), [160])


def test_a_base_takes_no_less_than_its_minimum() -> None:
    with pytest.raises(ParameterError, match=r"≥ 71 with `name: xception`. Got 64 instead"):
        check_sizes(trained("xception", (2048,), 299), [128, 64])
    check_sizes(trained("xception", (2048,), 299), [71, 299, 400])
    check_sizes(trained(HUB), [1])  # The module itself says what it takes, when it is loaded.


def test_options_that_exclude_each_other(tmp_path: Path) -> None:
    assert "cannot be used together" in run("128", "--json", "--csv", code=2)
    assert "takes one SIZE. Got 2" in run("128", "96", "--write", str(tmp_path / "new"), code=2)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "x").touch()
    said = run("128", "--write", str(tmp_path / "there"), code=1)
    assert "exists already and was left unchanged" in said
    run("0", code=2)
    run("4096", code=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    return small_run.make(tmp_path_factory.mktemp("run") / "files")


@pytest.fixture(params=["head", "fine_tuned"])
def project(
    made: SmallRun, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A project at 32 pixels, evaluated, with a head alone or fine-tuned."""
    data = tmp_path / "data"
    trains = {"epochs": 2, "learning_rate": 1e-3, "batch_size": 8}
    done = small_run.stage(
        made, "fine_tune", {"fine_tune": trains if request.param == "fine_tuned" else {}},
        images=made.images, manifest=made.manifest, backbone_folder=made.backbone, head=made.head,
        features=made.features, model=data / "models/fine_tuned",
        epoch_history=tmp_path / "epochs.csv", run_statistics=tmp_path / "run_statistics",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = small_run.stage(
        made, "evaluate", {}, images=made.images, manifest=made.manifest, features=made.features,
        head=made.head, model=data / "models/fine_tuned",
        predictions=data / "reports/predictions.csv", metrics=data / "metrics/evaluate.json",
        confusion=tmp_path / "confusion.csv", calibration=tmp_path / "calibration.csv",
        run_statistics=tmp_path / "run_statistics",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shutil.copytree(made.images, data / "images")
    shutil.copytree(made.backbone, data / "backbone")
    (data / "manifests").mkdir()
    shutil.copy(made.manifest, data / "manifests/sample.csv")
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    projects.call(tmp_path, "dvc", "init", "-q", "--no-scm")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow  # keras/networks/test_backbone.py builds backbones at sizes
def test_the_same_weights_at_another_size(project: Path, made: SmallRun) -> None:
    said = run("48", "--json", "--write", "small")
    answer = json.loads(said[: said.rindex("}") + 1])
    assert answer["same_as_evaluated"] == 12
    at_32, at_48 = answer["sizes"]
    evaluated = read_json(project / "data/metrics/evaluate.json")["model"]
    assert (at_32["size"], at_48["size"]) == (32, 48)
    for name in ("correct", "accuracy", "accuracy_low"):
        assert at_32[name] == pytest.approx(evaluated[name], abs=1e-9)
    assert at_48["images"] == 12
    assert at_48["correct"] - at_32["correct"] == (
        at_48["only_this_size_correct"] - at_48["only_trained_size_correct"]
    )

    # What was written is a model of that size, which predict runs: the same guesses.
    model = read_exported(project / "small")
    assert (model.image_size, model.backbone.image_size) == (48, 48)
    manifest = read_split(made.manifest)
    test = manifest[manifest["split"] == "test"]
    labels = [line["label"] for line in predicted(project, made)]
    assert sum(np.array(labels) == np.array(test["label"])) == at_48["correct"]
    table = run("48")
    assert "12 of 12 first guesses are the evaluated ones" in table
    assert "LiteRT on one thread" in table
    said = run("48", "--csv", "--write", "params.yaml/new", code=1)
    assert "Error: The model could not be written to params.yaml/new: " in said


def predicted(project: Path, made: SmallRun) -> list[dict[str, str]]:
    """What the written model says of the test images, through the command line."""
    from headstart.datasets.shards import ShardReader

    manifest = read_split(made.manifest)
    with ShardReader(made.images) as reader:
        for number, row in enumerate(manifest[manifest["split"] == "test"].to_dict("records")):
            content = reader.read(row["shard"], row["offset"], row["bytes"], row["image_id"])
            (project / f"{number:03}.image").write_bytes(content)
    said = running.run("predict", "*.image", "--model", "small", "--format", "jsonl")
    return [json.loads(line) for line in said.splitlines()]


def test_predictions_must_match_the_test_images(tmp_path: Path) -> None:
    made = recorded.separable(tmp_path)
    manifest = read_split(made.manifest)
    test = manifest[manifest["split"] == "test"]
    assert list(evaluated_rows(made.manifest, test, Path("p.csv"))["path"]) == list(test["path"])
    for other in (test[::-1], test[1:], test.assign(label="ant")):
        with pytest.raises(HeadstartError, match=r"p\.csv does not match .* from different runs"):
            evaluated_rows(made.manifest, other, Path("p.csv"))
