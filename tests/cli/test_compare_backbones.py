"""`headstart compare-backbones`: passes, the choice, and what it writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from headstart._utils.errors import HeadstartError
from headstart._utils.files import sha256_tree
from headstart.api import backbones
from headstart.backbones.parameters import BackboneParams
from headstart.backbones.record import BackboneRecord, read_backbone, write_backbone
from headstart.datasets.manifests import read_split
from headstart.features import extraction
from headstart.selection import comparison
from headstart.stage.parameters import read_params
from tests.cli import running
from tests.conftest import ROOT
from tests.runs import projects
from tests.stages import small_run
from tests.stages.small_run import SmallRun

run = partial(running.run, "compare-backbones")
SMALL = "mobilenet_v2@alpha=0.35,image_size=32,weights=random"
OTHER = "mobilenet_v2@alpha=0.5,image_size=32,weights=random"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    return small_run.make(tmp_path_factory.mktemp("run") / "files")


@pytest.fixture
def project(made: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that has been sampled; both backbones are the one network, by two names."""
    folder = tmp_path / "project"
    (folder / "data/manifests").mkdir(parents=True)
    shutil.copytree(made.images, folder / "data/images")
    shutil.copy(made.manifest, folder / "data/manifests/sample.csv")
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, folder)
    projects.call(folder, "dvc", "init", "-q", "--no-scm")

    def obtain(params: BackboneParams, engine: str, seed: int) -> tuple[Path, BackboneRecord]:
        assert (engine, seed) == ("litert", 42)
        if params.name != "mobilenet_v2":
            raise HeadstartError("it cannot be had")
        target = tmp_path / f"backbone-{params.alpha}"
        if not target.exists():
            shutil.copytree(made.backbone, target)
            record = read_backbone(target)
            write_backbone(target, record.model_copy(update={"alpha": params.alpha}))
        return target, read_backbone(target)

    monkeypatch.setattr(backbones, "obtain", obtain)
    monkeypatch.chdir(folder)
    return folder


def answer(*words: str) -> dict[str, Any]:
    said = run(*words, "--json")
    found: dict[str, Any] = json.loads(said[said.index("{") : said.rindex("}") + 1])
    return found


def counts(made: SmallRun) -> dict[str, int]:
    return dict(read_split(made.manifest)["split"].value_counts())


def test_each_image_passes_once_and_test_images_for_the_chosen_alone(
    project: Path, made: SmallRun
) -> None:
    of = counts(made)
    before = sha256_tree(project)
    found = answer(SMALL, OTHER)
    passes = of["train"] + of["validation"]
    assert [row["passes"] for row in found["backbones"]] == [passes, passes]
    assert found["chosen"] == SMALL  # of equal ones the first
    (tested,) = found["test"]
    assert tested["backbone"] == SMALL
    assert tested["passes"] == passes + of["test"]
    assert tested["linear"]["images"] == of["test"]
    assert found["backbones"][0]["validation"]["linear"]["images"] == of["validation"]
    assert found["backbones"][1]["p_against_best"] == 1.0
    assert sha256_tree(project) == before

    # Nothing runs again, and the scores are the same.
    again = answer(SMALL, OTHER)
    assert [row["passes"] for row in again["backbones"]] == [0, 0]
    assert again["test"][0]["passes"] == 0
    for one, other in zip(found["backbones"], again["backbones"], strict=True):
        assert one["validation"] == other["validation"]
    assert found["test"][0]["linear"] == again["test"][0]["linear"]


def test_a_killed_extraction_resumes(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extract: Callable[..., Any] = extraction.extract
    calls = []

    def failing(images: Any, *rest: Any) -> Any:
        calls.append(images)
        if len(calls) == 2:
            raise HeadstartError("struck")
        return extract(images, *rest)

    monkeypatch.setattr(comparison, "extract", failing)
    assert "struck" in run(SMALL, OTHER, code=1)
    found = answer(SMALL, OTHER)
    assert found["backbones"][0]["passes"] == 0
    assert found["backbones"][1]["passes"] > 0


def test_damaged_guesses_are_made_again(project: Path, private_store: Path) -> None:
    found = answer(SMALL)
    files = sorted((private_store / "probes").glob("*.json"))
    assert len(files) == 2
    files[0].write_text(files[0].read_text().replace('"strength": ', '"strength": 1'))
    files[1].write_text("{}")
    again = answer(SMALL)
    assert again["backbones"][0]["validation"] == found["backbones"][0]["validation"]
    assert again["test"][0]["linear"] == found["test"][0]["linear"]


def test_a_second_test_score_on_the_same_images_is_pointed_out(project: Path) -> None:
    assert "were shown before" not in run(SMALL)
    assert "were shown before" not in run(SMALL)
    said = run(OTHER)
    assert f"1 other backbone were shown before ({SMALL})" in said
    assert said.count("Test score of") == 1
    assert run(SMALL, OTHER, "--all-test-scores").count("Test score of") == 2


def test_a_budget_that_nothing_keeps_ends_with_1_and_tests_nothing(project: Path) -> None:
    said = run(SMALL, OTHER, "--budget-mb", "0.001", "--write", "-o", "out", code=1)
    assert "over budget" in said
    assert "No backbone keeps within 0.001 MB" in said
    assert "Test score" not in said
    assert json.loads((project / "out/backbones.json").read_text())["chosen"] is None
    assert (project / "params.yaml").read_bytes() == (ROOT / "params.yaml").read_bytes()


def test_the_choice_is_written_with_the_comments_kept(project: Path) -> None:
    said = run(SMALL, "--write", "--output", "out")
    assert "backbone.alpha: 1.0 -> 0.35" in said
    assert "Next: `headstart plan`" in said
    assert read_params(project / "params.yaml").backbone.image_size == 32
    old, new = (
        [line for line in file.read_text().splitlines() if line.lstrip().startswith("#")]
        for file in (ROOT / "params.yaml", project / "params.yaml")
    )
    assert old == new
    assert (project / "out/backbones.csv").is_file()
    assert "Nothing to change." in run("current", "--write")


def test_errors_name_what_to_do(project: Path) -> None:
    assert "Did you mean `mobilenet`" in run("mobilenett", code=2)
    said = run(SMALL, "vgg16@weights=random", code=1)
    assert "1 of 2 backbones cannot be compared" in said
    assert "vgg16@weights=random: it cannot be had" in said
    (project / "other").mkdir()
    (project / "other/thesis.txt").touch()
    assert "`--output` must be a new folder" in run(SMALL, "-o", "other", code=2)
    shutil.rmtree(project / "data/images")
    assert "There is no data/images yet" in run(SMALL, code=1)
