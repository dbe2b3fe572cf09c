"""The flow of a comparison, against a real (temporary) server: its state and its table."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import State

from flows.compare_backbones import compare_backbones
from headstart.runs.backbone_comparison import ARTIFACT
from tests.conftest import ROOT
from tests.flows.conftest import WITH_SERVER
from tests.runs import projects
from tests.stages import small_run

pytestmark = WITH_SERVER


def run(project: Path, names: list[str], **parameters: Any) -> State[Any]:
    found: Any = compare_backbones(names, root=str(project), return_state=True, **parameters)
    assert isinstance(found, State)
    return found


def test_the_choice_is_the_message_and_the_table_an_artifact(tmp_path: Path) -> None:
    made = small_run.make(tmp_path / "files")
    project = tmp_path / "project"
    (project / "data/manifests").mkdir(parents=True)
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, project)
    projects.call(project, "dvc", "init", "-q", "--no-scm")
    state = run(project, ["headstart-small@image_size=32"])
    assert state.is_failed()
    assert "There is no data/manifests/sample.csv yet" in str(state.message)

    shutil.copytree(made.images, project / "data/images")
    shutil.copy(made.manifest, project / "data/manifests/sample.csv")
    state = run(project, ["headstart-small@image_size=32"], write=True)
    assert state.is_completed()
    assert state.message == "Chosen: headstart-small@image_size=32"
    assert "image_size: 32" in (project / "params.yaml").read_text()
    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[ARTIFACT]))
    with get_client(sync_client=True) as client:
        (artifact,) = client.read_artifacts(artifact_filter=wanted)
    (row,) = json.loads(str(artifact.data))
    assert row["chosen"]
    assert row["passes"] > 0

    state = run(project, ["current"], budget_mb=0.001)
    assert state.is_failed()
    assert "No backbone keeps within 0.001 MB" in str(state.message)
