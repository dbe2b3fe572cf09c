"""`headstart drift`: the verdict with its exit code, its reasons, and what is listed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image, ImageEnhance
from typer.testing import CliRunner, Result

from headstart._utils.files import sha256_tree
from headstart.cli.app import app
from headstart.cli.drift import _LEAST
from headstart.incoming.statistics import DRAWS
from tests.incoming import project as made_project
from tests.stages import small_run
from tests.stages.small_run import SmallRun

BOTH = ("PNG", "JPEG")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    return small_run.make(tmp_path_factory.mktemp("run") / "files")


@pytest.fixture
def project(made: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = made_project.make(made, tmp_path / "project")
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(folder)
    return folder


def drift(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["drift", *words])
    assert result.exit_code == code, result.output
    return result


def darker(image: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(0.5)


def test_images_like_those_of_the_run_are_alike_and_pass_once(project: Path) -> None:
    made_project.new_images(project / "inbox", 24, BOTH)
    before = sha256_tree(project)
    first = drift("inbox")
    assert first.stdout.startswith("Alike (p = ")
    assert "24 new images, compared with 24 of the run." in first.stdout
    assert "24 passed through the backbone" in first.stderr
    again = drift("inbox")
    assert "0 passed through the backbone, 24 cached" in again.stderr
    assert again.stdout == first.stdout
    assert sha256_tree(project) == before


def test_darker_images_are_not_alike_and_the_reason_is_named(project: Path) -> None:
    made_project.new_images(project / "inbox", 30, BOTH, darker)
    result = drift("inbox", "-n", "3", code=5)
    assert result.stdout.startswith("Not alike (p = 0.00")
    assert "  darker (brightness 0." in result.stdout
    listed = result.stdout[result.stdout.index("Most unlike") :].splitlines()
    assert len(listed) == 2 + 3
    assert listed[1].split() == ["file", "label", "probability", "distance", "farther_than"]


def test_json_holds_the_verdict_and_the_most_unlike_images(project: Path) -> None:
    made_project.new_images(project / "inbox", 30, BOTH, darker)
    found = json.loads(drift("inbox", "--json", "-n", "5", code=5).stdout)
    assert found["alike"] is False
    assert found["p"] <= found["significance"] == 0.01
    assert (found["new_images"], found["run_images"]) == (30, 24)
    assert len(found["most_unlike"]) == 5
    far = [row["distance"] for row in found["most_unlike"]]
    assert far == sorted(far, reverse=True)
    assert {"brightness", "sharpness", "distance"} <= {d["statistic"] for d in found["differences"]}


def test_too_few_images_are_not_judged(project: Path) -> None:
    made_project.new_images(project / "inbox", 5)
    result = drift("inbox", code=1)
    assert "At least 20 new images are needed to judge; got 5." in result.stderr


def test_unusable_files_are_named(project: Path) -> None:
    made_project.new_images(project / "inbox", 24, BOTH)
    (project / "inbox/text.png").write_bytes(b"no image")
    result = drift("inbox", code=3)
    assert "Not read: inbox/text.png: " in result.stderr
    drift("missing", code=1)


def test_a_file_that_holds_no_predictions_is_refused(project: Path) -> None:
    (project / "today.jsonl").write_text('{"file": "a", "label": "fox", "probability": 1}\n')
    (project / "data/reports").mkdir()
    (project / "data/reports/predictions.csv").touch()
    result = drift("today.jsonl", code=1)
    assert "today.jsonl, line 1: expected a row of `headstart predict`" in result.stderr


def test_a_significance_that_no_p_reaches_is_refused() -> None:
    assert 3 / (1 + DRAWS) <= _LEAST
    assert (
        "greater than or equal to 0.0075"
        in drift("inbox", "--significance", "0.004", code=2).stderr
    )
