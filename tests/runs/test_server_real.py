"""docs/scheduling.md, command by command, with the real pipeline on the embedded images."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from benchmarks.checkout import Checkout
from tests.conftest import ROOT
from tests.runs.projects import git
from tests.runs.server import Prefect, until

pytestmark = [
    pytest.mark.server,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(sys.platform != "linux", reason="processes are watched through /proc"),
]

GUIDE = (ROOT / "docs" / "scheduling.md").read_text()


def shown(command: str) -> list[str]:
    """The words of a command that stands in the guide."""
    line = command.replace("RUN", "fluffy-otter")
    assert line in GUIDE.splitlines(), f"the guide does not show: {line}"
    return shlex.split(command)


def started(prefect: Prefect, command: str, folder: Path) -> str:
    """Start a run as the guide does; return its id."""
    name = command.rpartition(" ")[2]
    prefect.run(*shown(command), folder=folder)
    deployment = prefect.look(f"deployments/name/{name}")["id"]

    def newest() -> str | None:
        runs = prefect.ask(
            "flow_runs/filter", deployments={"id": {"any_": [deployment]}},
            flow_runs={"state": {"type": {"not_any_": ["SCHEDULED", "COMPLETED"]}}},
        )  # fmt: skip
        return str(runs[0]["id"]) if runs else None

    return until(newest, 120, "the run begins")


def test_the_guide_with_the_real_pipeline(tmp_path: Path) -> None:
    mine = Checkout(tmp_path / "project", tmp_path / "mine")
    mine.git("branch", "--move", "main")
    mine.set(seed=20)  # so that there is a difference to look at
    mine.git("commit", "--quiet", "--all", "--message", "another seed")
    git(tmp_path, "clone", "--quiet", "--bare", "project", "origin.git")
    mine.git("remote", "add", "origin", str(tmp_path / "origin.git"))
    prefect = Prefect(tmp_path / "prefect")
    try:
        prefect.start()
        for command in (
            "prefect work-pool create headstart --type process",
            "prefect --no-prompt deploy --all",
        ):
            prefect.run(*shown(command), folder=mine.folder)
        shown("prefect worker start --pool headstart --type process")
        prefect.worker(
            "headstart", HEADSTART_REPOSITORY=str(tmp_path / "origin.git"),
            HEADSTART_CACHE=str(tmp_path / "store"), HEADSTART_DVC_REMOTE=str(tmp_path / "remote"),
        )  # fmt: skip
        run = started(prefect, "prefect deployment run pipeline/nightly", mine.folder)
        ended = prefect.ended(run, 900)
        assert ended["state_type"] == "COMPLETED", prefect.log(run)
        name = ended["name"]

        mine.run(*shown(
            'git fetch origin "refs/heads/headstart/runs/*:refs/remotes/origin/headstart/runs/*"'
        ))  # fmt: skip
        branch = f"origin/headstart/runs/{name}"
        listed = mine.run(*shown("git log --oneline --remotes=origin/headstart/runs"))[1]
        assert f"Run {name}" in listed
        mine.repro()  # cold: a cache and a store of its own
        assert mine.git("show", f"{branch}:dvc.lock") == (mine.folder / "dvc.lock").read_text()
        mine.git("clean", "--quiet", "--force", "-d", "dvc.lock", "data")
        mine.git("checkout", "--quiet", ".")
        diff = mine.run(*_named(shown("dvc metrics diff HEAD origin/headstart/runs/RUN"), name))[1]
        assert "data/metrics/evaluate.json" in diff
        mine.run(*_named(shown("git merge --ff-only origin/headstart/runs/RUN"), name))
        mine.run(*shown("dvc pull"))
        assert (mine.folder / "data" / "export" / "model.keras").is_file()

        git(tmp_path / "origin.git", "branch", "--force", "main", f"headstart/runs/{name}")
        run = started(prefect, "prefect deployment run reproduce/weekly-reproduce", mine.folder)
        ended = prefect.ended(run, 900)
        assert ended["state_type"] == "COMPLETED", prefect.log(run)
        assert "bit-exact" in ended["state"]["message"]
    finally:
        prefect.close()


def _named(words: list[str], name: str) -> list[str]:
    return [word.replace("RUN", name) for word in words]
