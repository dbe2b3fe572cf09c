"""The notebook runs from its first cell to its last, on a run's own files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart._utils.files import atomic_folder
from headstart.training.model_folder import write_model
from tests.conftest import ROOT
from tests.stages.recorded import RUNTIME, params, record, stage
from tests.training.models import record as model_record

nbformat = pytest.importorskip("nbformat", reason="needs the extra `notebook`")
nbclient = pytest.importorskip("nbclient", reason="needs the extra `notebook`")

NOTEBOOK = ROOT / "notebooks" / "look-at-a-run.ipynb"
CLASSES = ["ant", "bee", "cat"]
COUNTS = {"train": 30, "validation": 9, "test": 48}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project's folder with what `evaluate` leaves of noisy features and a simple head."""
    generator = np.random.Generator(np.random.Philox(key=5))
    splits: dict[str, Any] = {}
    for split, count in COUNTS.items():
        labels = np.arange(count) % 3
        features = 4 * np.eye(3)[labels] + 1.5 * generator.normal(size=(count, 3))
        splits[split] = (features.astype(np.float32), labels.tolist())
    data = record(tmp_path / "data", splits, CLASSES)
    dense = {"kind": "dense", "units": 3, "activation": "softmax"}
    of = model_record(classes=tuple(CLASSES), feature_shape=(3,), head=(dense,))
    with atomic_folder(tmp_path / "head") as head:
        weights = {"0.kernel": np.eye(3, dtype=np.float32), "0.bias": np.zeros(3, np.float32)}
        write_model(head, of, weights)
    done = stage(
        "evaluate",
        params=params(tmp_path / "params.yaml"),
        images=data.images,
        manifest=data.manifest,
        features=data.features,
        head=tmp_path / "head",
        model=tmp_path / "head",
        runtime=RUNTIME,
        predictions=tmp_path / "data/reports/predictions.csv",
        metrics=tmp_path / "data/metrics/evaluate.json",
        confusion=tmp_path / "data/plots/confusion.csv",
        calibration=tmp_path / "data/plots/calibration.csv",
        run_statistics=tmp_path / "data/run_statistics",
    )
    assert done.returncode == 0, done.stderr
    (tmp_path / "dvc.yaml").write_text("")
    return tmp_path


def test_it_is_committed_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None


def test_it_runs_and_draws_the_map(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(project / "ipython"))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    before = set((project / "data").rglob("*"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=200, kernel_name="python3",
        resources={"metadata": {"path": str(project)}},
    ).execute()  # fmt: skip
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    texts = [output.get("data", {}).get("text/plain", "") for output in outputs]
    images = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(images) == 1
    assert f"({COUNTS['test']}, 2)" in texts
    metrics = json.loads((project / "data/metrics/evaluate.json").read_text())
    assert 0 < metrics["model"]["correct"] < COUNTS["test"], "there must be a mistake to look at"
    html = "".join(output.get("data", {}).get("text/html", "") for output in outputs)
    assert f"{metrics['model']['accuracy']:.4f}" in html
    assert all(name in html for name in CLASSES)
    assert set((project / "data").rglob("*")) == before
