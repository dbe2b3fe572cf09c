"""A project whose graph has stages of all kinds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.runs.projects import dvc, git

GRAPH = """
stages:
  second:
    cmd: cp first.txt second.txt
    desc: Reads what the first one wrote
    deps: [first.txt]
    outs: [second.txt]
    meta: {retries: 2}
  first:
    cmd: cp raw.txt first.txt
    deps: [raw.txt]
    params: [seed, section]
    outs: [first.txt]
  each:
    foreach: [red, blue]
    do:
      cmd: cp raw.txt ${item}.txt
      deps: [raw.txt]
      metrics: [{"${item}.txt": {cache: false}}]
  grid:
    matrix:
      net: [small, big]
    cmd: cp second.txt ${item.net}.csv
    deps: [second.txt]
    plots: ["${item.net}.csv"]
"""


@pytest.fixture(scope="session")
def ran_graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with stages of all kinds, which have all run; nobody changes it."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "dvc.yaml").write_text(GRAPH)
    (folder / "params.yaml").write_text("seed: 1\nsection:\n  share: 0.1\n  name: a\n")
    (folder / "raw.txt").write_text("images")
    git(folder, "init", "-q")
    dvc(folder, "init", "-q")
    dvc(folder, "repro", "-q")
    return folder


@pytest.fixture
def graph(ran_graph: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    copy = tmp_path / "copy"
    shutil.copytree(ran_graph, copy, symlinks=True)
    return copy
