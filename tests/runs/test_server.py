"""Schedules with a real Prefect server and real workers, on loopback."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT
from tests.runs.projects import dvc, git, make
from tests.runs.server import BIN, Kept, Prefect, until

pytestmark = [
    pytest.mark.server,
    pytest.mark.timeout(900),  # each in a fraction of it, unless the machine is very busy
    pytest.mark.skipif(sys.platform != "linux", reason="processes are watched through /proc"),
]

HERE = "pipeline/here"
BRANCHES = "refs/heads/headstart/runs"


class Night(NamedTuple):
    """What a schedule needs: a repository, a cache, and a worker that knows both."""

    origin: Path
    cache: Path
    worker: Kept


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    """A server as it starts in the project's folder."""
    found = Prefect(
        tmp_path_factory.mktemp("prefect"), GIT_CONFIG_GLOBAL=os.devnull, PYTHONPATH=str(ROOT),
        PREFECT_WORKER_QUERY_SECONDS="2",
    )  # fmt: skip
    shutil.copy(ROOT / "prefect.toml", found.folder)
    try:
        found.start()
        yield found
    finally:
        found.close()


@pytest.fixture(scope="module", autouse=True)
def night(prefect: Prefect, tmp_path_factory: pytest.TempPathFactory) -> Night:
    """Deployments: the nightly one, but every minute, so that it fires while the first tests go on;
    and one that runs a project where it lies, for workers of its own.
    """
    folder = tmp_path_factory.mktemp("night")
    make(folder / "made")
    git(folder, "clone", "--quiet", "--bare", "made", "origin.git")
    origin, cache = folder / "origin.git", folder / "cache"
    shutil.copytree(ROOT / "flows", folder / "flows")
    yard = {"prefect.deployments.steps.set_working_directory": {"directory": str(folder)}}
    deploy(
        prefect, folder / "deploying",
        {"schedules": [{"cron": "* * * * *", "timezone": "Europe/Berlin"}]},
        {
            "name": "here", "schedules": [], "parameters": {"commit": True}, "pull": [yard],
            "work_pool": {"name": "here"},
        },
    )  # fmt: skip
    worker = prefect.worker(
        "headstart", "night", HEADSTART_REPOSITORY=str(origin), HEADSTART_DVC_CACHE=str(cache)
    )
    return Night(origin, cache, worker)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a stage that runs until the file that ends it appears."""
    folder = make(tmp_path / "project")
    (folder / "params.yaml").write_text("rate: 0.5\nseconds: 600\n")
    git(folder, "commit", "--quiet", "--all", "--message", "slow")
    return folder


@pytest.fixture
def worker(prefect: Prefect, tmp_path: Path) -> Iterator[Kept]:
    kept = prefect.worker("here", tmp_path.name)
    yield kept
    kept.close()


def deploy(prefect: Prefect, folder: Path, *entries: dict[str, Any]) -> None:
    """Run `prefect deploy` with the nightly deployment of prefect.yaml, changed a bit."""
    yaml = YAML(typ="safe")
    content = yaml.load((ROOT / "prefect.yaml").read_text())
    nightly = next(one for one in content["deployments"] if one["name"] == "nightly")
    content["deployments"] = [{**nightly, **entry} for entry in entries]
    shutil.copytree(ROOT / "flows", folder / "flows")
    with (folder / "prefect.yaml").open("w") as file:
        yaml.dump(content, file)
    for one in content["deployments"]:
        prefect.ask("work_pools/", name=one["work_pool"]["name"], type="process")
    prefect.run("prefect", "--no-prompt", "deploy", "--all", folder=folder)


def stage(folder: Path) -> set[int]:
    """Processes that are the stage `train` of a project."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if words[-3:-1] == [b"work.py", b"train"] and (entry / "cwd").readlink() == folder:
                found.add(int(entry.name))
        except OSError:
            continue
    return found


def begun(prefect: Prefect, project: Path, deployment: str = HERE) -> str:
    """Start a run, and wait until it is in the middle of its long stage."""
    run = prefect.start_run(deployment, root=str(project))
    until(lambda: stage(project), 180, "the stage runs")
    return run


def goes_on(prefect: Prefect, project: Path) -> None:
    """The next run comes to its end, and does nothing again that was finished."""
    (project / "enough").touch()
    ended = prefect.ended(prefect.start_run(HERE, root=str(project)))
    assert ended["state_type"] == "COMPLETED", prefect.log(ended["id"])
    assert began(project).count("prepare") == 1
    assert git(project, "status", "--porcelain") == ""
    assert len(git(project, "for-each-ref", BRANCHES).splitlines()) == 1


def began(project: Path) -> list[str]:
    return (project / "began.txt").read_text().split()


def test_cancelling_ends_the_stage_and_the_next_run_goes_on(
    prefect: Prefect, project: Path, worker: Kept
) -> None:
    run = begun(prefect, project)
    prefect.cancel(run)
    until(lambda: not stage(project), 30, "the stage is gone")
    assert prefect.ended(run)["state_type"] == "CANCELLED"
    goes_on(prefect, project)


def test_a_killed_worker_costs_no_stage(
    prefect: Prefect, project: Path, worker: Kept, tmp_path: Path
) -> None:
    run = begun(prefect, project)
    worker.kill()
    (project / "enough").touch()  # the stage comes to its end, with nobody to tell
    prefect.ended(run)
    other = prefect.worker("here", f"{tmp_path.name}-2")
    goes_on(prefect, project)
    other.close()
    assert began(project).count("train") == 1


def test_a_schedule_fires_by_itself_and_leaves_a_commit_as_dvc_repro_would(
    prefect: Prefect, night: Night, tmp_path: Path
) -> None:
    deployment = prefect.look("deployments/name/pipeline/nightly")["id"]

    def fired() -> list[dict[str, Any]]:
        found = prefect.ask(
            "flow_runs/filter", deployments={"id": {"any_": [deployment]}},
            flow_runs={"start_time": {"is_null_": False}}, sort="START_TIME_ASC",
        )  # fmt: skip
        return list(found)

    first = until(fired, 240, "the schedule fires")[0]
    ended = prefect.ended(first["id"])
    prefect.run("prefect", "deployment", "delete", "pipeline/nightly", folder=tmp_path)
    night.worker.close()
    assert ended["state_type"] == "COMPLETED", prefect.log(first["id"])
    assert first["auto_scheduled"]
    assert first["expected_start_time"].endswith(":00Z")
    print(f"planned for {first['expected_start_time']}, began {ended['start_time']}")
    branch = f"headstart/runs/{ended['name']}"
    assert git(night.origin, "for-each-ref", "--format=%(refname:short)", BRANCHES).split() == [
        branch  # later runs found nothing new
    ]
    assert git(night.origin, "show", f"{branch}:data/metrics.json").startswith('{"accuracy": 1.5')
    assert git(night.origin, "rev-parse", f"{branch}^") == git(night.origin, "rev-parse", "main")
    clone = re.search(r"Clone: (\S+);", night.worker.text)
    assert clone is not None
    # The run has ended before its worker tidies up.
    until(lambda: not Path(clone[1]).exists(), 60, "the clone is removed")
    plain = tmp_path / "plain"
    git(tmp_path, "clone", "--quiet", str(night.origin), str(plain))
    dvc(plain, "repro", "--quiet")
    assert git(night.origin, "show", f"{branch}:dvc.lock") == (plain / "dvc.lock").read_text()
    taken = tmp_path / "taken"
    git(tmp_path, "clone", "--quiet", "--branch", branch, str(night.origin), str(taken))
    dvc(taken, "cache", "dir", "--local", str(night.cache))
    dvc(taken, "checkout", "--quiet")
    assert (taken / "data" / "model.txt").read_text() == "ONE TWO THREE0.5"


@pytest.mark.slow
def test_a_worker_that_does_not_know_the_repository_says_so_on_the_runs_page(
    prefect: Prefect, tmp_path: Path
) -> None:
    deploy(prefect, tmp_path / "deploying", {"schedules": [], "work_pool": {"name": "forgetful"}})
    worker = prefect.worker("forgetful", "forgetful")
    run = prefect.start_run("pipeline/nightly")
    assert prefect.ended(run)["state_type"] == "CRASHED"
    worker.close()
    until(lambda: "HEADSTART_REPOSITORY is not set" in prefect.log(run), 30, "the page says why")


def test_a_killed_server_costs_no_stage(prefect: Prefect, project: Path, worker: Kept) -> None:
    run = begun(prefect, project)
    assert prefect.server is not None
    prefect.server.kill()
    (project / "enough").touch()
    until(lambda: git(project, "for-each-ref", BRANCHES), 180, "the run is recorded")
    prefect.start()
    prefect.ended(run)
    goes_on(prefect, project)
    assert began(project).count("train") == 1


def test_one_machine_without_a_worker(prefect: Prefect, project: Path) -> None:
    served = Kept(
        [str(BIN / "headstart"), "serve", "--nightly", "0 2 * * *", "--weekly", "off"],
        prefect.folder / "serve.log", prefect.environment, project,
    )  # fmt: skip
    try:
        until(lambda: "To stop: Ctrl-C" in served.text, 180, "it serves")
        assert "pipeline/project-nightly: " in served.text
        deployment = until(
            lambda: prefect.found("deployments/name/pipeline/project-nightly"), 60, "it is known"
        )
        assert not deployment["paused"]
        begun(prefect, project, "pipeline/project-nightly")
        served.signal(signal.SIGINT)
        until(lambda: not stage(project), 30, "the stage is gone")
        until(lambda: not served.alive, 60, "it ends")
    finally:
        served.close()
    assert prefect.look("deployments/name/pipeline/project-nightly")["paused"]
    assert git(project, "status", "--porcelain") != ""  # what was finished is kept for the next run
