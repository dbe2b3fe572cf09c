"""The results of a run, read from where dvc.yaml says that they are."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import headstart as hs
from headstart._utils.errors import HeadstartError
from headstart._utils.files import read_json, sha256_bytes
from headstart.datasets.corrected import CHANGED, write_changed
from tests.api.project import REJECTED_FILE
from tests.conftest import ROOT

CLASSES = ("blue bar", "green bar", "red bar")


def test_scores_and_predictions_belong_together(project: Path) -> None:
    run = hs.load_run()
    evaluation = read_json(project / "metrics.json")
    assert run.classes == CLASSES
    assert run.metrics.index.tolist() == ["head", "model"]
    assert run.metrics.loc["model", "accuracy"] == evaluation["model"]["accuracy"]
    assert "per_class" not in run.metrics
    assert run.per_class["label"].tolist() == list(CLASSES)
    table = run.predictions
    right = (table["predicted"] == table["label"]).sum()
    assert right == round(12 * evaluation["model"]["accuracy"])
    np.testing.assert_array_equal(run.probabilities().max(axis=1), table["probability"])
    assert run.probabilities("head").shape == (12, 3)


def test_images_features_and_files_are_in_the_same_order(project: Path) -> None:
    run = hs.load_run(project)
    assert run.images.groupby("split").size().to_dict() == {
        "train": 24, "validation": 12, "test": 12,
    }  # fmt: skip
    X, rows = run.features("test")
    assert X.shape == (12, 576)
    assert not X.flags.writeable
    test = run.images[run.images["split"] == "test"]
    assert list(test["image_id"]) == list(rows["image_id"]) == list(run.predictions["image_id"])
    files = run.files(test)
    assert len(files) == 12
    assert [sha256_bytes(content) for content in files] == list(rows["image_id"])
    assert files[:2] == [files[0], files[1]]
    assert files[-1] == list(files)[11]
    assert len(run.files()) == 48
    with pytest.raises(IndexError):
        files[12]


def test_a_clone_that_never_ran_says_so_whatever_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())
    run = hs.load_run(tmp_path)
    asked: dict[str, Callable[[], object]] = {
        name: partial(getattr, run, name)
        for name in ("classes", "metrics", "per_class", "predictions", "images", "rejected",
                     "corrected", "history", "passes")
    }  # fmt: skip
    asked["features"] = lambda: run.features("train")
    asked["files"] = lambda: run.files(pd.DataFrame())
    for name, ask in asked.items():
        with pytest.raises(HeadstartError) as caught:
            ask()
        assert re.match(r"There is no .*\. Run the pipeline first", str(caught.value)), name
        assert "elete" not in str(caught.value)


def test_the_rest_of_a_run(project: Path) -> None:
    run = hs.load_run(project / "data" / "export")
    assert run.folder == project
    assert str(project) in repr(run)
    assert run.rejected.to_dict("records") == [REJECTED_FILE]
    assert run.history["phase"].tolist() == ["head"] * 5
    assert run.passes.loc["extract_features", "passes_cached"] == 48
    assert run.model.labels == ("blue", "green", "red")


@pytest.mark.usefixtures("cache_of_the_run")
def test_new_images_are_compared_by_every_test(project: Path) -> None:
    run = hs.load_run()
    found = run.drift(["today"])
    assert list(found.columns) == ["p", "new", "run"]
    assert found.index.tolist()[:3] == ["any", "classifier", "kernel"]
    tests = found.drop(index="any")
    assert found.loc["any", "p"] == pytest.approx(3 * tests["p"].min())
    brightness: Any = found.loc["brightness"]
    assert brightness["new"] > brightness["run"]
    assert brightness["p"] < 0.01
    pd.testing.assert_frame_equal(found, run.drift(project / "today"))
    files = sorted((project / "today").iterdir())
    with pytest.raises(HeadstartError, match="At least 20 new images are needed to judge; got 5"):
        run.drift(files[:5])
    with pytest.raises(HeadstartError, match=r"got the address https://example\.org/a\.png"):
        run.drift("https://example.org/a.png")
    with pytest.raises(hs.RejectedImagesError, match=r"empty\.png"):
        run.drift([*files, project / "empty.png"])


def test_corrected_images_keep_the_label_of_the_source(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())
    row = ["0" * 64, "=ant/1.png", "relabel", "ant", "bee", "seen"]
    table = pd.DataFrame([row], columns=list(CHANGED), dtype="str")
    write_changed(tmp_path / "data/manifests/corrected.csv", table)
    pd.testing.assert_frame_equal(hs.load_run(tmp_path).corrected, table)


def test_what_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(HeadstartError, match=r"no dvc\.yaml"):
        hs.load_run(tmp_path)
    (tmp_path / "dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())
    run = hs.load_run(tmp_path)
    with pytest.raises(HeadstartError, match=r"data/metrics/evaluate\.json.*dvc repro"):
        run.metrics  # noqa: B018
    with pytest.raises(HeadstartError, match="is not an exported model"):
        run.model  # noqa: B018
    with pytest.raises(HeadstartError, match="no stage `evaluate` that is called with `--nothing`"):
        run.path("evaluate", "nothing")


@pytest.mark.parametrize(
    ("stage", "option"),
    [
        ("download", "rejected"),
        ("split", "changed"),
        ("train_head", "features"),
        ("train_head", "epoch_history"),
        ("fine_tune", "epoch_history"),
        ("evaluate", "images"),
        ("evaluate", "manifest"),
        ("evaluate", "metrics"),
        ("evaluate", "predictions"),
        ("evaluate", "run_statistics"),
        ("export", "export_folder"),
    ],
)
def test_the_pipeline_names_every_file_that_a_run_reads(stage: str, option: str) -> None:
    assert str(hs.load_run(ROOT).path(stage, option)).startswith(str(ROOT / "data"))
