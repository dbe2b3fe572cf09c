"""`headstart report`: the page written again from what lies in `data`."""

from __future__ import annotations

import os
import shlex
import shutil
import webbrowser
from functools import partial
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from headstart.cli.summary import _report_state
from tests.cli import running
from tests.conftest import ROOT
from tests.report import made
from tests.runs import projects

run = partial(running.run, "report")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose only stage is make_report, with a run's files where it says."""
    entry = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]["make_report"]
    words = shlex.split(entry["cmd"])
    options = dict(zip(words[3::2], words[4::2], strict=True))
    files = made.make(tmp_path / "files")
    project = tmp_path / "project"
    for name, source in made.options(files).items():
        target = project / options[f"--{name.replace('_', '-')}"]
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    deps = [dep for dep in entry["deps"] if not dep.endswith(".py")]
    stage = {"cmd": entry["cmd"], "deps": deps, "outs": entry["outs"]}
    with (project / "dvc.yaml").open("w") as file:
        YAML().dump({"stages": {"make_report": stage}}, file)
    shutil.copy(ROOT / "params.yaml", project)
    projects.call(project, "dvc", "init", "-q", "--no-scm")
    monkeypatch.chdir(project)
    return project


def test_the_page_is_written_and_nothing_else(project: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (project / "data").rglob("*.*")}
    said = run()
    page = project / "data/reports/index.html"
    assert "data/reports/index.html" in said
    assert "3 classes" in page.read_text(encoding="utf-8")
    assert not (project / "data/reports/figures").exists()
    after = {path: path.stat().st_mtime_ns for path in (project / "data").rglob("*.*")}
    assert {path for path in after if after[path] != before.get(path)} == {page}


def test_the_page_is_opened_on_demand(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = (project / "data/reports/index.html").as_uri()
    monkeypatch.setattr(webbrowser, "open", lambda address: address == expected)
    run("--open")
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    assert "No browser could be started" in run("--open", code=1)


def test_a_missing_run_is_reported(project: Path) -> None:
    (project / "data/reports/predictions.csv").unlink()
    assert "There is no data/reports/predictions.csv yet" in run(code=1)


def test_the_summary_reports_the_state_of_the_page(tmp_path: Path) -> None:
    page, metrics = tmp_path / "index.html", tmp_path / "metrics.json"
    metrics.write_text("{}")
    assert "`headstart report` writes it" in _report_state(page, metrics)
    page.write_text("")
    assert _report_state(page, metrics).startswith(f"Report: {page}")
    os.utime(page, (1, 1))
    assert "is older than these scores" in _report_state(page, metrics)
