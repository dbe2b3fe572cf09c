"""`headstart run` as a person runs it: what it says, how it ends, and what it leaves behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.checkout import Checkout
from headstart.cli.app import app
from headstart.runs import local_runner
from headstart.runs.local_runner import Finished
from tests.conftest import ROOT
from tests.runs import projects
from tests.runs.server import Kept, Prefect, until

HEADSTART = str(Path(sys.executable).parent / "headstart")
PIPELINE = """
stages:
  quick:
    cmd: echo b > quick.txt
    outs: [quick.txt]
  waits:
    cmd: "echo $$ > pid; touch began; until [ -e enough ]; do sleep 0.05; done; echo x > waits.txt"
    deps: [quick.txt]
    outs: [waits.txt]
  last:
    cmd: cat waits.txt > last.txt
    deps: [waits.txt]
    outs: [last.txt]
"""
LISTED = (
    "import sys\nfrom headstart.cli.app import app\n"
    "sys.argv = ['headstart', 'run']\n"
    "try: app()\n"
    "finally: print(' '.join(sys.modules))"
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("params.yaml", "prefect.toml"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "flows", folder / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "dvc.yaml").write_text(PIPELINE)
    projects.call(folder, "git", "init", "-q")
    projects.dvc(folder, "init", "-q")
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prefect's folder, whose database is made once."""
    return tmp_path_factory.mktemp("home")


def temporary(home: Path) -> dict[str, str]:
    """An environment in which nothing names a server."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT")}
    return {**kept, "PREFECT_HOME": str(home)}


def test_wrong_parameters_are_reported_before_prefect_is_imported(project: Path) -> None:
    (project / "params.yaml").write_text("seed: many\n")
    done = subprocess.run(
        [sys.executable, "-c", LISTED], cwd=project, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 2
    assert "The `seed` parameter" in done.stderr
    assert not {"prefect", "dvc", "pandas"} & set(done.stdout.split())


@pytest.mark.parametrize(
    ("finished", "said"),
    [
        (Finished(0, "3 stages: 3 ran.", "http://page", False, False), "page: http://page"),
        (Finished(1, "bad: no good", None, False, True), "Error: bad: no good"),
        (Finished(5, "export: below 0.9", None, False, True), "Error: export: below 0.9"),
        (Finished(130, "Interrupted.", None, False, True), "Interrupted."),
    ],
)
def test_the_end_is_reported_and_sets_the_exit_code(
    project: Path, monkeypatch: pytest.MonkeyPatch, finished: Finished, said: str
) -> None:
    asked: dict[str, Any] = {}

    def run_locally(root: Path, **options: Any) -> Finished:
        asked.update(options, root=root)
        return finished

    monkeypatch.chdir(project)
    monkeypatch.setattr(local_runner, "run_locally", run_locally)
    result = CliRunner().invoke(app, ["run", "--no-gate", "--commit"])
    assert result.exit_code == finished.code
    assert said in result.output
    assert asked.pop("on_lost")
    assert asked == {"root": project, "gate": False, "commit": True}


def test_verify_finds_a_file_that_changed_although_its_record_did_not(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = project / "source.txt"
    source.write_text("one")
    (project / "dvc.yaml").write_text(
        "stages:\n  copies:\n"
        "    cmd: cp source.txt out.txt; echo verify=$HEADSTART_VERIFY >> out.txt\n"
        "    deps: [source.txt]\n    outs: [out.txt]\n"
    )
    projects.dvc(project, "config", "core.check_update", "false")  # as our projects have it
    then = source.stat().st_mtime_ns - 10_000_000_000
    folders = set()

    def run_locally(root: Path, **_: Any) -> Finished:
        folders.add(os.environ["DVC_SITE_CACHE_DIR"])
        return Finished(0, projects.dvc(root, "repro"), None, False, True)

    monkeypatch.chdir(project)
    monkeypatch.setattr(local_runner, "run_locally", run_locally)
    for name, value in (("HEADSTART_VERIFY", "0"), ("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))):
        monkeypatch.setenv(name, value)  # and it is restored when the test ends
    os.utime(source, ns=(then, then))
    run = CliRunner().invoke
    assert run(app, ["run"], catch_exceptions=False).exit_code == 0
    with source.open("r+") as file:  # the same size and inode
        file.write("two")
    os.utime(source, ns=(then, then))
    assert "didn't change, skipping" in run(app, ["run"], catch_exceptions=False).output
    assert (project / "out.txt").read_text() == "oneverify=0\n"
    run(app, ["run", "--verify"], catch_exceptions=False)
    assert (project / "out.txt").read_text() == "twoverify=1\n"
    (temporary_folder,) = folders - {str(tmp_path / "site")}
    assert not Path(temporary_folder).exists()


@pytest.mark.slow
@pytest.mark.server
def test_with_a_temporary_server_ctrl_c_ends_it_all_and_the_next_run_goes_on(
    project: Path, home: Path, tmp_path: Path
) -> None:
    run = Kept([HEADSTART, "run"], tmp_path / "first.log", temporary(home), project)
    try:
        until((project / "began").exists, 120, "the stage begins")
        os.killpg(run.pid, signal.SIGINT)  # as a terminal does it: to the server, too
        until(lambda: not run.alive, 30, "the command ends")
        left = subprocess.run(
            ["pgrep", "-g", str(run.pid)], capture_output=True, text=True, check=False
        ).stdout.split()
        assert set(left) <= {str(run.pid)}
    finally:
        run.close()
    assert "\nInterrupted. Finished work is recorded." in run.text
    with pytest.raises(ProcessLookupError):
        os.kill(int((project / "pid").read_text()), 0)
    (project / "enough").touch()
    said = projects.dvc(project, "repro")
    assert "Stage 'quick' didn't change, skipping" in said
    assert (project / "last.txt").read_text() == "x\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    prefect = Prefect(tmp_path_factory.mktemp("server"))
    try:
        prefect.start()
        yield prefect
    finally:
        prefect.close()


@pytest.mark.server
def test_a_server_that_goes_away_costs_no_stage(
    project: Path, server: Prefect, tmp_path: Path
) -> None:
    run = Kept([HEADSTART, "run"], tmp_path / "run.log", server.environment, project)
    try:
        until((project / "began").exists, 120, "the stage begins")
        runs = server.ask("flow_runs/filter")
        assert [entry["state_type"] for entry in runs] == ["RUNNING"]
        assert server.server is not None
        server.server.kill()
        (project / "enough").touch()
        until(lambda: not run.alive, 120, "the command ends")
    finally:
        run.close()
    assert "3 stages: 3 ran." in run.text
    assert "Prefect's server stopped during the run" in run.text
    assert (project / "last.txt").read_text() == "x\n"
    assert projects.dvc(project, "status", "--quiet") == ""
    # The next run finds nobody, and says so.
    done = subprocess.run(
        [HEADSTART, "run"], cwd=project, env=server.environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"Prefect's server at {server.url} cannot be used" in done.stderr
    assert "No stage was run" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_dvc_repro_and_headstart_run_make_the_same_record(home: Path, tmp_path: Path) -> None:
    theirs = Checkout(tmp_path / "theirs", tmp_path / "their store")
    ours = Checkout(tmp_path / "ours", tmp_path / "our store")
    theirs.repro()
    for name in [name for name in ours.environment if name.startswith("PREFECT")]:
        del ours.environment[name]
    ours.environment["PREFECT_HOME"] = str(home)
    _, output = ours.run(HEADSTART, "run")
    assert "Test split:" in output
    locks = [(checkout.folder / "dvc.lock").read_bytes() for checkout in (theirs, ours)]
    assert locks[0] == locks[1]
    _, output = ours.run(HEADSTART, "run")
    assert "unchanged." in output
    assert " ran" not in output.splitlines()[-1]
    assert (ours.folder / "dvc.lock").read_bytes() == locks[0]
