"""The flow of a drift check, against a real (temporary) server: its state and its table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import ImageEnhance
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import State

from flows.drift import drift
from headstart.runs.drift_check import ARTIFACT
from tests.flows.conftest import WITH_SERVER
from tests.incoming import project as made_project
from tests.stages import small_run

pytestmark = WITH_SERVER


def run(project: Path, *images: str) -> State[Any]:
    found: Any = drift(list(images), root=str(project), return_state=True)
    assert isinstance(found, State)
    return found


def test_the_flow_fails_when_images_are_not_alike(tmp_path: Path) -> None:
    project = made_project.make(small_run.make(tmp_path / "files"), tmp_path / "project")
    both = ("PNG", "JPEG")
    made_project.new_images(project / "alike", 24, both)
    made_project.new_images(
        project / "dark", 30, both, lambda image: ImageEnhance.Brightness(image).enhance(0.5)
    )
    (project / "alike/text.png").write_bytes(b"no image")
    state = run(project, "alike")
    assert state.is_completed()
    assert str(state.message).startswith("Alike: 24 new images, p = ")

    state = run(project, "dark")
    assert state.is_failed()
    assert str(state.message).startswith("Not alike: 30 new images, p = 0.00")
    assert "darker (brightness" in str(state.message)
    wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[ARTIFACT]))
    with get_client(sync_client=True) as client:
        tables = [
            json.loads(str(each.data)) for each in client.read_artifacts(artifact_filter=wanted)
        ]
    assert {len(table) for table in tables} == {10}

    state = run(project, "missing")
    assert state.is_failed()
    assert "Not read: missing" in str(state.message)
