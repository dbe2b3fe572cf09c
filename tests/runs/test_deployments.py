from __future__ import annotations

import inspect
import os
import re
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.schedules import CronSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings
from ruamel.yaml import YAML
from typer.testing import CliRunner

from headstart._utils.errors import HeadstartError
from headstart.cli.app import app
from headstart.runs.deployments import Timetable, deployments, serve, server_url
from headstart.runs.fresh_clone import expect, prepare
from tests.conftest import ROOT
from tests.runs.projects import dvc, git, make

DECLARED = YAML(typ="safe").load((ROOT / "prefect.yaml").read_text())
NOWHERE = "http://127.0.0.1:9/api"  # the discard port: nobody answers


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make(tmp_path_factory.mktemp("made") / "project")
    dvc(folder, "remote", "add", "--default", "storage", "../storage")  # written as ../../storage
    git(folder, "commit", "--quiet", "--all", "--message", "remote")
    return folder


@pytest.fixture
def clone(made: Path, tmp_path: Path) -> Path:
    git(tmp_path, "clone", "--quiet", str(made), "clone")
    return tmp_path / "clone"


@pytest.mark.parametrize("entry", DECLARED["deployments"], ids=lambda entry: entry["name"])
def test_what_prefect_yaml_declares(entry: dict[str, Any]) -> None:
    path, _, name = entry["entrypoint"].partition(":")
    flow = getattr(import_module(path.removesuffix(".py").replace("/", ".")), name)
    assert (ROOT / path).is_file()
    assert set(entry["parameters"]) <= set(inspect.signature(flow.fn).parameters)
    assert flow.validate_parameters(entry["parameters"])
    assert entry["concurrency_limit"]["limit"] == 1
    (schedule,) = entry["schedules"]
    Timetable(schedule["cron"], None, schedule["timezone"]).check()


def test_prefect_yaml_names_nobodys_repository_and_its_variables_are_explained() -> None:
    text = (ROOT / "prefect.yaml").read_text()
    assert "://" not in text
    variables = set(re.findall(r"\{\{ \$(\w+) \}\}", text))
    assert "HEADSTART_REPOSITORY" in variables
    guide = (ROOT / "docs" / "scheduling.md").read_text()
    for name in variables:
        assert f"#   {name} " in text
        assert f"`{name}`" in guide


def test_a_worker_that_cannot_clone_says_why(made: Path, tmp_path: Path) -> None:
    expect(str(made))
    expect(str(made), "main")
    with pytest.raises(HeadstartError, match="HEADSTART_REPOSITORY is not set"):
        expect(" ")
    with pytest.raises(HeadstartError, match="cannot be read by the worker") as caught:
        expect(str(tmp_path / "nowhere"))
    assert "does not appear to be a git repository" in str(caught.value)
    with pytest.raises(HeadstartError, match=r"no branch nights \(HEADSTART_BRANCH\)"):
        expect(str(made), "nights")
    git(tmp_path, "init", "--quiet", "empty")
    with pytest.raises(HeadstartError, match="has no commit"):
        expect(str(tmp_path / "empty"))


def test_a_clone_gets_a_cache_that_stays_and_its_origins_remote(
    clone: Path, made: Path, private_store: Path
) -> None:
    found = prepare(str(clone))
    assert found == {
        "directory": str(clone),
        "cache": str(private_store / "dvc"),
        "remote": str(made.parent / "storage"),
    }
    assert dvc(clone, "cache", "dir").strip() == str(private_store / "dvc")
    assert git(clone, "status", "--porcelain") == ""
    assert str(made.parent / "storage") in dvc(clone, "remote", "list")
    dvc(clone, "remote", "modify", "storage", "url", "../a, b")
    assert prepare(str(clone))["remote"] == str(made.parent / "a, b")


def test_a_clone_from_far_away_has_no_remote_but_one_that_is_named(
    clone: Path, tmp_path: Path
) -> None:
    git(clone, "remote", "set-url", "origin", "git@example.org:somebody/project.git")
    assert prepare(str(clone), cache=str(tmp_path / "cache"))["remote"] == ""
    named = prepare(str(clone), cache=str(tmp_path / "cache"), remote="s3://bucket/folder")
    assert named["remote"] == "s3://bucket/folder"
    assert "s3://bucket/folder" in dvc(clone, "remote", "list")
    assert dvc(clone, "config", "core.remote").strip() == "storage"


def test_places_of_any_name_hold(clone: Path, tmp_path: Path) -> None:
    cache, remote = tmp_path / "a, b #1" / "it's", tmp_path / "c, d #2"
    prepare(str(clone), cache=str(cache), remote=str(remote))
    assert dvc(clone, "cache", "dir").strip() == str(cache)
    assert dvc(clone, "config", "remote.storage.url").strip() == str(remote)


def test_a_cache_that_would_lie_in_each_clone_is_refused(clone: Path) -> None:
    with pytest.raises(HeadstartError, match="HEADSTART_DVC_CACHE is 'cache'"):
        prepare(str(clone), cache="cache")


@pytest.mark.parametrize(
    ("timetable", "words"),
    [
        (Timetable("0 2 * *", None), "--nightly is '0 2 * *'"),
        (Timetable(None, "every sunday"), "--weekly is 'every sunday'"),
        (Timetable("0 2 * * *", None, "Berlin"), "--timezone is 'Berlin'"),
        (Timetable(None, None), "both schedules are off"),
    ],
)
def test_a_timetable_that_is_none(timetable: Timetable, words: str) -> None:
    with pytest.raises(HeadstartError, match=re.escape(words)):
        timetable.check()


def test_without_a_server_the_message_says_how_to_start_one(made: Path) -> None:
    with temporary_settings(updates={PREFECT_API_URL: NOWHERE}):
        with pytest.raises(HeadstartError, match=f"{NOWHERE} .PREFECT_API_URL says so") as caught:
            server_url()
        with pytest.raises(HeadstartError, match="Nothing was scheduled"):
            serve(
                made, Timetable("0 2 * * *", None), commit=True, push=False, pause_on_shutdown=True
            )
    assert "prefect server start" in str(caught.value)
    assert "PREFECT_SERVER_UI_API_URL" in str(caught.value)


def test_served_deployments_run_in_the_folder_and_in_its_time_zone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "flows", tmp_path / "flows")
    monkeypatch.chdir(tmp_path)
    timetable = Timetable("30 1 * * *", "0 3 * * 6", "America/New_York")
    nightly, weekly = deployments(tmp_path, timetable, commit=True, push=False)
    assert nightly.full_name == f"pipeline/{tmp_path.name}-nightly"
    assert weekly.full_name == f"reproduce/{tmp_path.name}-weekly-reproduce"
    assert nightly.parameters == {"root": os.fspath(tmp_path), "commit": True, "push": False}
    assert weekly.parameters == {"root": os.fspath(tmp_path), "rev": "HEAD"}
    assert nightly.entrypoint == "flows/pipeline.py:pipeline"  # relative to the folder
    for one, cron in ((nightly, "30 1 * * *"), (weekly, "0 3 * * 6")):
        (entry,) = one.schedules or []
        assert isinstance(entry.schedule, CronSchedule)
        assert (entry.schedule.cron, entry.schedule.timezone) == (cron, "America/New_York")


def test_the_command_shows_a_fault_as_its_message_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["serve"])
    assert done.exit_code == 1
    assert "is not a Headstart project" in done.output
    for name in ("dvc.yaml", "params.yaml"):
        (tmp_path / name).write_text("{}\n")
    (tmp_path / ".dvc").mkdir()
    for words in (["init", "-q"], ["add", "--all"], ["commit", "-q", "-m", "start"]):
        git(tmp_path, *words)
    done = CliRunner().invoke(app, ["serve", "--nightly", "off", "--weekly", "off"])
    assert done.exit_code == 1
    assert done.output.startswith("Error: There is nothing to serve")
