from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from flows import dag
from flows.dag import Changes, ParamChange
from flows.plan import Fate, plan
from tests.flows.projects import dvc, git

ROOT = Path(__file__).resolve().parents[2]
PIPELINE = """
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


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose stages have all run."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "params.yaml").write_text("seed: 1\nsection:\n  share: 0.1\n  name: a\n")
    (folder / "raw.txt").write_text("pictures")
    git(folder, "init", "-q")
    dvc(folder, "init", "-q")
    dvc(folder, "repro", "-q")
    return folder


@pytest.fixture
def project(ran: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "copy"
    shutil.copytree(ran, copy, symlinks=True)
    return copy


def fates(folder: Path) -> dict[str, str]:
    planned = plan(dag.stages(folder), dag.changes(folder))
    return {entry.stage.name: entry.fate.name for entry in planned}


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
    assert all(change.never_run for change in dag.changes(tmp_path).values())


def test_foreach_and_matrix_are_expanded_and_order_is_topological(project: Path) -> None:
    stages = {stage.name: stage for stage in dag.stages(project)}
    assert list(stages) == ["first", "second", "each@red", "each@blue", "grid@small", "grid@big"]
    assert stages["second"].parents == ("first",)
    assert stages["second"].desc == "Reads what the first one wrote"
    assert stages["second"].meta == {"retries": 2}
    assert stages["first"].params == ("seed", "section")
    assert stages["first"].deps == ("raw.txt",)
    assert stages["each@red"].metrics == stages["each@red"].written == ("red.txt",)
    assert stages["grid@big"].plots == ("big.csv",)
    assert stages["grid@big"].parents == ("second",)


def test_a_stage_is_read_the_same_from_any_folder(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dag.stages(project)
    (project / "raw.txt").write_text("others")
    monkeypatch.chdir("/")
    assert dag.stages(project) == before
    assert dag.changes(project)["first"].deps == {"raw.txt": "modified"}


def test_what_has_run_is_clean(project: Path) -> None:
    found = dag.changes(project)
    assert all(change.clean for change in found.values())
    assert set(fates(project).values()) == {"UNCHANGED"}


def test_changed_parameters_are_named_leaf_by_leaf_with_both_values(project: Path) -> None:
    (project / "params.yaml").write_text("seed: 1\nsection:\n  share: 0.2\n  other: null\n")
    change = dag.changes(project)["first"]
    assert change == Changes(
        params=(
            ParamChange("section.share", "0.1", "0.2"),
            ParamChange("section.other", None, "null"),
            ParamChange("section.name", "a", None),
        ),
        in_cache=True,
    )
    assert fates(project) == {
        "first": Fate.RUN.name,
        "second": Fate.MAY.name,
        "each@red": Fate.UNCHANGED.name,
        "each@blue": Fate.UNCHANGED.name,
        "grid@small": Fate.MAY.name,
        "grid@big": Fate.MAY.name,
    }


def test_a_changed_command_is_told(project: Path) -> None:
    text = (project / "dvc.yaml").read_text()
    (project / "dvc.yaml").write_text(
        text.replace("first.txt second.txt", "./first.txt second.txt")
    )
    assert dag.changes(project)["second"].command
    assert fates(project)["second"] == "RUN"


def test_what_is_said_to_be_restored_is_restored(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    (project / "raw.txt").write_text("others")
    assert fates(project)["first"] == "RUN"
    dvc(project, "repro", "-q")
    (project / "raw.txt").write_text("pictures")
    for name in ("second.txt", "big.csv"):
        (project / name).unlink()
    # The run cache keeps metrics as well, which the cache of outputs does not.
    assert fates(project) == {
        "first": "RESTORE",
        "second": "MAY",
        "each@red": "RESTORE",
        "each@blue": "RESTORE",
        "grid@small": "MAY",
        "grid@big": "MAY",
    }
    assert not any(capsys.readouterr())
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro"],
        cwd=project, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "'first' is cached - skipping run" in done.stdout + done.stderr
    assert "Running stage" not in done.stdout + done.stderr


def test_lost_files_are_restored_and_nothing_after_them_runs(project: Path) -> None:
    for name in ("first.txt", "second.txt"):
        (project / name).unlink()
    found = fates(project)
    assert found["first"] == found["second"] == "RESTORE"
    assert found["grid@small"] == "UNCHANGED"
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro"], cwd=project, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert "Running stage" not in done.stdout + done.stderr


def test_without_a_cache_lost_files_are_made_again(project: Path) -> None:
    shutil.rmtree(project / ".dvc" / "cache")
    (project / "first.txt").unlink()
    assert fates(project)["first"] == "RUN"


def test_a_frozen_stage_stands_still(project: Path) -> None:
    text = (project / "dvc.yaml").read_text()
    frozen = text.replace("    params: [seed, section]", "    params: [seed]\n    frozen: true")
    (project / "dvc.yaml").write_text(frozen)
    (project / "raw.txt").write_text("others")
    assert fates(project)["first"] == "UNCHANGED"


def test_nothing_is_changed_by_looking(project: Path) -> None:
    (project / "raw.txt").write_text("others")
    lock = (project / "dvc.lock").read_bytes()
    dag.changes(project)
    assert (project / "dvc.lock").read_bytes() == lock
    assert dag.changes(project) == dag.changes(project)


@pytest.mark.parametrize(
    ("text", "told"),
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
def test_faults_of_the_pipeline_are_told(project: Path, text: str, told: str) -> None:
    (project / "dvc.yaml").write_text(text)
    with pytest.raises(dag.GraphError, match=told):
        dag.stages(project)


def test_a_folder_without_a_project_is_told(tmp_path: Path) -> None:
    with pytest.raises(dag.GraphError, match="dvc init"):
        dag.stages(tmp_path)
