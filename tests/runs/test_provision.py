"""Data that lies elsewhere than in the project."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from headstart._utils.errors import HeadstartError
from headstart.runs.certificate import Certificate
from headstart.runs.rerun import Request, rerun
from headstart.runs.verdict import Kind, Verdict
from tests.runs import toy

pytestmark = pytest.mark.slow


def again(project: Path, **asked: Any) -> Certificate:
    return rerun(project, Request("HEAD", **asked), say=lambda _: None)


@pytest.mark.parametrize("absolute", [True, False])
def test_data_outside_of_the_project_are_read_where_they_are_or_brought_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absolute: bool
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "data.txt").write_text("one three seven")
    place = str(outside) if absolute else "../outside"
    text = toy.PIPELINE.replace("raw/data.txt", f"{place}/data.txt").replace("[raw]", f"[{place}]")
    project = toy.make(tmp_path, **{"dvc.yaml": text})
    assert again(project).verdict is Verdict.BIT_EXACT
    made = again(project, from_source=True)
    assert made.verdict is Verdict.BIT_EXACT
    assert made.stages[0].how == "ran"
    (outside / "data.txt").write_text("one three eight")
    assert again(project).verdict is Verdict.BIT_EXACT
    changed = again(project, from_source=True)
    named = [entry.path for entry in changed.files if entry.kind is Kind.INPUT]
    assert named == [place]
    shutil.rmtree(outside)
    assert again(project).verdict is Verdict.BIT_EXACT
    with pytest.raises(HeadstartError, match="The data of the commit is missing"):
        again(project, from_source=True)
