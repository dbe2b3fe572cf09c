"""The notebook runs from its first cell to its last, on a run's own files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from headstart._utils.files import read_json
from tests.api import project as projects
from tests.conftest import ROOT

nbformat = pytest.importorskip("nbformat", reason="needs the extra `notebook`")
nbclient = pytest.importorskip("nbclient", reason="needs the extra `notebook`")

NOTEBOOK = ROOT / "notebooks" / "look-at-a-run.ipynb"
CLASSES = ["blue bar", "green bar", "red bar"]
MAX_BYTES = 200_000


def shown(notebook: Any, kind: str) -> list[str]:
    """What the cells show of one kind: ``image/png``, ``text/html``; ``stream`` is printed text."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    if kind == "stream":
        return [output["text"] for output in outputs if output["output_type"] == kind]
    return [output["data"][kind] for output in outputs if kind in output.get("data", {})]


def test_it_is_committed_with_its_outputs() -> None:
    """As one run from top to bottom left them, small, and without a path of that machine."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(cell.outputs for cell in code)
    assert not [
        output for cell in code for output in cell.outputs if output.get("name") == "stderr"
    ]
    assert not [output for cell in code for output in cell.outputs if "ename" in output]
    assert len(shown(notebook, "image/png")) == 3
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < MAX_BYTES
    for place in (str(Path.home()), "/tmp/", str(ROOT)):  # noqa: S108 - what must not be there
        assert place not in text


def test_it_runs_and_writes_nothing(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = projects.shared(tmp_path_factory) / "project"
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    before = set(project.rglob("*"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=200, kernel_name="python3",
        resources={"metadata": {"path": str(project)}},
    ).execute()  # fmt: skip
    model = read_json(project / "metrics.json")["model"]
    assert 0 < model["accuracy"] < 1, "there must be a mistake to look at"
    assert len(shown(notebook, "image/png")) == 3
    assert "(12, 2)" in shown(notebook, "text/plain")
    html = "".join(shown(notebook, "text/html"))
    assert f"{model['accuracy']:.4f}" in html
    assert all(name in html for name in CLASSES)
    heads = "".join(shown(notebook, "stream"))
    assert all(name in heads for name in ("softmax layer", "hidden layer", "logistic regression"))
    assert set(project.rglob("*")) == before
