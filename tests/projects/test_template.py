"""The files of a new project for GitHub, Docker and editors."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from headstart.cli.app import app
from headstart.features.parameters import ADDRESS
from headstart.projects.create import project_files
from tests.conftest import ROOT
from tools.generate import command_paths

FILES = {path: content.decode() for path, content in project_files("My Flowers").items()}
WORKFLOW = ".github/workflows/headstart.yml"
INSTRUCTIONS = {"FROM", "RUN", "COPY", "ARG", "ENV", "WORKDIR", "CMD"}


def steps() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = YAML(typ="safe").load(FILES[WORKFLOW])["jobs"]["pipeline"][
        "steps"
    ]
    return found


@pytest.mark.parametrize(
    ("name", "schema"), [(WORKFLOW, "github-workflows"), ("compose.yaml", "compose-spec")]
)
def test_the_files_follow_their_schemas(name: str, schema: str, tmp_path: Path) -> None:
    pytest.importorskip("check_jsonschema", reason="needs check-jsonschema of the extra `dev`")
    file = tmp_path / Path(name).name
    file.write_text(FILES[name])
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}",
         str(file)], check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_step_of_the_workflow_uses_a_pinned_action_or_parses_as_shell() -> None:
    for step in steps():
        assert ("uses" in step) != ("run" in step)
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])
        else:
            subprocess.run(["bash", "-n"], input=step["run"], text=True, check=True)


def test_the_workflow_runs_the_pipeline_and_posts_its_scores() -> None:
    lines = "\n".join(step.get("run", "") for step in steps())
    assert "dvc repro" in lines
    known = {words[0] for words in command_paths(app)}
    called = re.findall(r"headstart (\w+)", lines)
    assert called == ["gate", "summary"]
    assert set(called) <= known
    assert "GITHUB_STEP_SUMMARY" in lines
    assert "{% raw" not in FILES[WORKFLOW]
    assert "${{ github.event.pull_request.base.sha }}" in FILES[WORKFLOW]


def test_the_dockerfile_has_known_instructions_and_copies_what_a_project_has() -> None:
    text = re.sub(r"\\\n", "", FILES["Dockerfile"])
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert {line.split()[0] for line in lines} == INSTRUCTIONS
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert lines[0] == f"FROM python:{version}-slim"
    [copied] = [line.split()[1:-1] for line in lines if line.startswith("COPY")]
    assert all(source in FILES or source.endswith("*") for source in copied)
    assert json.loads(next(line for line in lines if line.startswith("CMD"))[4:]) == [
        "dvc",
        "repro",
    ]
    for line in lines:
        if line.startswith("RUN"):
            subprocess.run(["sh", "-n"], input=line[4:], text=True, check=True)
    assert "docker build --tag my-flowers ." in FILES["Dockerfile"]


def test_the_compose_file_starts_a_scheduler_that_nothing_outside_reaches() -> None:
    """Its structure: there is no Docker here."""
    text = FILES["compose.yaml"]
    found = YAML(typ="safe").load(text)
    services = found["services"]
    assert set(services) == {"scheduler", "worker", "pipeline"}
    assert found["networks"] == {"cluster": {"internal": True}}
    arguments = re.findall(r"(?m)^ARG (\w+)", FILES["Dockerfile"])
    for service in services.values():
        assert "ports" not in service
        assert "cluster" in service["networks"]
        assert service["build"] == {"context": ".", "args": {"EXTRAS": "cluster"}}
        assert set(service["build"]["args"]) <= set(arguments)
        assert set(service.get("depends_on", [])) <= set(services)
    assert services["scheduler"]["networks"] == services["worker"]["networks"] == ["cluster"]
    address = "tcp://scheduler:8786"
    assert services["pipeline"]["environment"] == {"HEADSTART_CLUSTER": address}
    assert ADDRESS.fullmatch(address)
    assert services["worker"]["command"] == f"headstart cluster worker {address}"
    called = {("cluster", name) for name in re.findall(r"headstart cluster (\w+)", text)}
    assert called == {path for path in command_paths(app) if path[0] == "cluster"} - {("cluster",)}


def test_the_dev_container_builds_the_same_image() -> None:
    found = json.loads(FILES[".devcontainer/devcontainer.json"])
    assert found["name"] == "My Flowers"
    assert found["build"] == {"dockerfile": "../Dockerfile", "context": ".."}
    assert "doctor" in found["postCreateCommand"]


def test_what_the_container_writes_beside_the_project_is_ignored() -> None:
    cache = re.search(r"HEADSTART_CACHE=/project/(\S+)", FILES["Dockerfile"])
    assert cache is not None
    assert f"{cache[1]}/" in FILES[".gitignore"].splitlines()


def test_the_shown_workflow_file_exists_in_the_docs() -> None:
    page = (ROOT / "docs/projects.md").read_text()
    assert WORKFLOW in page
    assert "wheels" in page
