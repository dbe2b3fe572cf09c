from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from headstart._utils.errors import HeadstartError
from headstart.pipeline import graph as dag
from headstart.pipeline.graph import GraphError
from headstart.pipeline.plan import changes
from tests.runs.projects import call, dvc, git

ROOT = Path(__file__).resolve().parents[2]


def test_the_real_pipeline_in_its_order(tmp_path: Path) -> None:
    for name in ("dvc.yaml", "params.yaml", "runtime.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    git(tmp_path, "init", "-q")
    dvc(tmp_path, "init", "-q")
    declared = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
    stages = dag.stages(tmp_path)
    assert [stage.name for stage in stages] == list(declared)
    seen: set[str] = set()
    for stage in stages:
        assert set(stage.parents) <= seen
        seen.add(stage.name)
        assert stage.meta == declared[stage.name]["meta"]
        assert stage.desc == declared[stage.name]["desc"]
        assert stage.params == tuple(declared[stage.name]["params"])
        assert "${" not in stage.cmd[0]
    assert all(change.never_run for change in changes(tmp_path).values())


def test_foreach_and_matrix_are_expanded_and_order_is_topological(graph: Path) -> None:
    stages = {stage.name: stage for stage in dag.stages(graph)}
    assert list(stages) == ["first", "second", "each@red", "each@blue", "grid@small", "grid@big"]
    assert stages["second"].parents == ("first",)
    assert stages["second"].desc == "Reads what the first one wrote"
    assert stages["second"].meta == {"retries": 2}
    assert stages["first"].params == ("seed", "section")
    assert stages["first"].deps == ("raw.txt",)
    assert stages["each@red"].metrics == stages["each@red"].written == ("red.txt",)
    assert stages["grid@big"].plots == ("big.csv",)
    assert stages["grid@big"].parents == ("second",)


@pytest.mark.parametrize(
    "cure", [("git", "init", "-q"), (sys.executable, "-m", "dvc", "config", "core.no_scm", "true")]
)
def test_without_the_git_repository_the_message_names_cures_that_work(
    graph: Path, cure: tuple[str, ...]
) -> None:
    shutil.rmtree(graph / ".git")
    with pytest.raises(GraphError, match=r"is not in a git repository.*Run `git init`.*no_scm"):
        dag.stages(graph)
    call(graph, *cure)
    assert dag.stages(graph)


def test_a_stage_is_read_the_same_from_any_folder(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dag.stages(graph)
    (graph / "raw.txt").write_text("others")
    monkeypatch.chdir("/")
    assert dag.stages(graph) == before
    assert changes(graph)["first"].deps == {"raw.txt": "modified"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages: {a: {cmd: x, outz: [b]}}", "DVC cannot read the pipeline"),
        ("stages: [", "DVC cannot read the pipeline"),
        (
            "stages: {a: {cmd: x, deps: [c], outs: [b]}, b: {cmd: x, deps: [b], outs: [c]}}",
            "DVC cannot read the pipeline",
        ),
        ("stages: {a: {cmd: x, deps: ['${no.such}'], outs: [b]}}", "no.such"),
    ],
)
def test_faults_of_the_pipeline_are_reported(graph: Path, text: str, message: str) -> None:
    (graph / "dvc.yaml").write_text(text)
    with pytest.raises(GraphError, match=message):
        dag.stages(graph)


def test_a_folder_without_a_project_is_reported(tmp_path: Path) -> None:
    with pytest.raises(HeadstartError, match=r"no dvc\.yaml.*`headstart init my-project`"):
        dag.stages(tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    with pytest.raises(GraphError, match=r"no \.dvc folder.*`dvc init` restores"):
        dag.stages(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes in folders")
def test_a_pipe_in_the_source_is_named_before_dvc_waits_for_it(graph: Path, tmp_path: Path) -> None:
    source = [replace(stage, meta={"source": True}) for stage in dag.stages(graph)]
    (graph / "raw.txt").unlink()
    (graph / "raw.txt" / "cat").mkdir(parents=True)
    (graph / "raw.txt" / "cat" / "0.jpg").touch()
    (graph / "raw.txt" / "cat" / "1.jpg").symlink_to("nothing")
    dag.require_sources(graph, source)
    os.mkfifo(graph / "raw.txt" / "cat" / "pipe.jpg")
    with pytest.raises(HeadstartError, match=r"cat/pipe\.jpg is a device, a pipe.*Remove it, or"):
        dag.require_sources(graph, source)


def test_a_source_that_is_not_there_is_named_with_its_cures(graph: Path) -> None:
    stages = dag.stages(graph)
    dag.require_sources(graph, stages)
    (graph / "first.txt").unlink()  # DVC makes it
    dag.require_sources(graph, stages)
    (graph / "raw.txt").unlink()
    with pytest.raises(GraphError, match=r"no raw.txt, which the stage `first` reads.*git restore"):
        dag.require_sources(graph, stages)
    (graph / "raw.txt.dvc").touch()
    with pytest.raises(GraphError, match=r"`dvc pull raw.txt.dvc`"):
        dag.require_sources(graph, stages)
    (graph / "raw.txt.dvc").unlink()
    source = [replace(stage, meta={"source": True}) for stage in stages]
    with pytest.raises(HeadstartError, match=r"nothing at raw.txt.*`download.location`"):
        dag.require_sources(graph, source)
