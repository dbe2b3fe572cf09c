from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from headstart.backbones.registry import BACKBONES
from headstart.cli.app import app
from headstart.cli.plan import planned_run
from headstart.cli.plan_costs import Costs
from headstart.datasets.corrections import Correction, write_corrections
from headstart.datasets.duplicates import write_groups
from headstart.datasets.manifests import read_images, read_split
from headstart.features.estimate import images_in_use
from headstart.features.extraction import fingerprint_record
from headstart.features.store import FeatureStore, split_key
from headstart.features.views import RecordedViews
from headstart.pipeline.estimate import Passes, UnknownError, Wanted
from headstart.pipeline.graph import Stage
from headstart.pipeline.plan import Fate, Planned
from headstart.pipeline.recipes import overlay
from headstart.stage.parameters import read_params
from tests.cli.running import run
from tests.conftest import ROOT
from tests.training import models

LISTED = "import sys\nfrom headstart.cli.app import app\nsys.argv = ['headstart', *sys.argv[1:]]\n"
LISTED += "try: app()\nfinally: print(' '.join(sys.modules), file=sys.stderr)"
RECORD = models.backbone(feature_shape=(4,))
VIEWS = {"views": 2, "augment": {"rotation": 20}}


def modules_of(*words: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", LISTED, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    "words", [["--help"], ["plan", "--help"], ["classify", "--help"], ["params"], ["backbones"]]
)
def test_cheap_commands_stay_cheap(words: list[str]) -> None:
    heavy = {"tensorflow", "keras", "prefect", "dvc", "pandas", "numpy", "rich"}
    assert not modules_of(*words) & heavy


def test_the_version_is_printed() -> None:
    assert run("--version") == f"headstart {metadata.version('headstart')}\n"


def test_every_command_stands_under_a_heading_that_lists_few() -> None:
    said = run("--help")
    listed = said[said.index("Set up:") :].split("\n\n")
    groups = [block.splitlines() for block in listed if block.rstrip().endswith(".")]
    assert {line.split()[0] for _, *lines in groups[:7] for line in lines} == {
        *(vars(each)["callback"].__name__.replace("_", "-") for each in app.registered_commands),
        *(each.typer_instance.info.name for each in app.registered_groups if each.typer_instance),
    }
    assert all(len(lines) <= 6 for _, *lines in groups[:7])


def test_every_command_has_an_example() -> None:
    for command in app.registered_commands:
        assert "Example" in (command.epilog or "")


def test_valid_params_are_reported() -> None:
    assert run("params", str(ROOT / "params.yaml")).endswith("params.yaml is valid.\n")


def test_all_faults_of_params_are_reported_with_exit_code_2(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text()
    file = tmp_path / "params.yaml"
    file.write_text(text.replace("seed: 42", "seed: many").replace("  test: 0.1", "  test: 2"))
    said = run("params", str(file), code=2)
    assert said.startswith("Error: params.yaml has 2 faults")
    assert "Traceback" not in said
    file.write_text(text.replace("name: headstart-small", "name: mobilenet-v2x"))
    assert "Did you mean `mobilenet_v2`" in run("params", str(file), code=2)


def test_backbones_lists_all_of_them() -> None:
    lines = run("backbones").splitlines()
    assert [line.split()[0] for line in lines[1:-2]] == list(BACKBONES)
    assert "`name: hub`" in lines[-1]


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which everything up to the sample has run on the embedded images."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("dvc.yaml", "params.yaml", "runtime.txt"):
        shutil.copy(ROOT / name, folder)
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("stages", "headstart"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    (folder / "data" / "raw").mkdir(parents=True)
    shutil.copy(ROOT / "data/corrections.csv", folder / "data")
    (folder / ".dvcignore").write_text("__pycache__\n")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"}
    for words in (["init", "-q", "--no-scm"], ["repro", "-q", "sample"]):
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *words],
            cwd=folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_plan_lists_stages_with_reasons(sampled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sampled)
    plan = json.loads(run("plan", "--json"))
    fates = {stage["name"]: stage["fate"] for stage in plan["stages"]}
    assert [fates[name] for name in ("download", "split", "sample")] == ["unchanged"] * 3
    assert fates["extract_features"] == "will run"
    # The backbone is not made yet, and no store may be its own.
    assert plan["passes"]["seconds_each"] > 0
    assert {**plan["passes"], "seconds_each": None} == {
        "needed": 1797,
        "of": 1797,
        "views": 0,
        "at_most": False,
        "least": 0,
        "seconds_each": None,
        "why": "",
    }
    assert plan["downloads"] == []
    assert all(each["needed"] > 0 for each in plan["room"])
    # The sample is the recorded one: nothing is divided again, which takes a minute for a million.
    with monkeypatch.context() as patched:
        patched.setattr("headstart.features.estimate.images_in_use", None)
        shown = run("plan")
    assert "Passes: 1,797 of 1,797 images" in shown
    assert "never run" in shown
    assert "based on typical times, because no stage has run here" in shown
    assert "nothing measured here yet" in shown


def test_plan_knows_the_images_before_split_and_sample_have_run(
    sampled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    shutil.copytree(sampled, project, symlinks=True)
    monkeypatch.chdir(project)
    text = Path("params.yaml").read_text()
    changed = text.replace("train_per_class: null", "train_per_class: 20")
    Path("params.yaml").write_text(changed)
    plan = json.loads(run("plan", "--json"))
    sample = next(stage for stage in plan["stages"] if stage["name"] == "sample")
    assert sample["fate"] == "will run"
    assert sample["reasons"] == ["sample.train_per_class: null → 20"]
    assert sample["seconds"] >= 0
    whole = read_split(Path("data/manifests/split.csv"))
    expected = int((whole["split"] != "train").sum()) + 200
    assert plan["passes"]["of"] == expected
    Path("params.yaml").write_text(changed.replace("source: embedded", "source: folder"))
    assert "unknown (the images cannot be listed: The folder data/raw holds" in run("plan")
    Path("params.yaml").write_text(changed.replace("location: data/raw", "location: data/photos"))
    Path("params.yaml").write_text(
        Path("params.yaml").read_text().replace("source: embedded", "source: folder")
    )
    said = "unknown (the images cannot be listed: There is nothing at data/photos, where the images"
    assert said in run("plan")


def test_plan_counts_the_images_of_fine_tuning(
    sampled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sampled)
    assert json.loads(run("plan", "--json"))["fine_tuning"] is None
    assert "Fine-tuning" not in run("plan")
    project = tmp_path / "project"
    shutil.copytree(sampled, project, symlinks=True)
    monkeypatch.chdir(project)
    yaml = YAML(typ="rt")
    document = yaml.load(Path("params.yaml").read_text())
    document["fine_tune"]["epochs"] = 4
    with Path("params.yaml").open("w") as file:
        yaml.dump(document, file)
    assert json.loads(run("plan", "--json"))["fine_tuning"] == {
        "images": 1797,
        "views": 0,
        "why": "",
    }
    assert "Fine-tuning: up to 1,797 images through the frozen part below" in run("plan")


def test_images_are_those_of_the_sample(sampled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sampled)
    parameters = read_params(sampled / "params.yaml")
    found = Costs(parameters, planned_run(sampled)).wanted(sampled / "data/manifests/images.csv")
    sample = read_split(sampled / "data/manifests/sample.csv")
    assert sorted(found.images) == sorted(set(sample["image_id"]))
    assert not found.views


def test_near_duplicates_share_a_split_in_the_plan_too(
    sampled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    shutil.copytree(sampled, project, symlinks=True)
    monkeypatch.chdir(project)
    few = {"sample": {"train_per_class": 20, "validation_per_class": 5}}
    path = tmp_path / "params.yaml"
    path.write_text(overlay((ROOT / "params.yaml").read_text(), few))
    parameters = read_params(path)
    images = read_images(project / "data/manifests/images.csv")
    ids = images.groupby("label")["image_id"]
    groups = {one: of.iloc[n - n % 2] for _, of in ids for n, one in enumerate(of.tolist())}
    write_groups(project / "data/audit/duplicate_groups.csv", groups)
    together = images_in_use(images, parameters, groups)
    planned = [replace(each, fate=Fate.RUN) for each in planned_run(project)]
    found = Costs(parameters, planned).wanted(project / "data/manifests/images.csv")
    assert set(found.images) == set(together["image_id"])
    assert set(found.images) != set(images_in_use(images, parameters, {})["image_id"])


def test_corrections_are_applied_in_the_plan_too(
    sampled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    shutil.copytree(sampled, project, symlinks=True)
    monkeypatch.chdir(project)
    gone = read_split(project / "data/manifests/sample.csv")["image_id"].iloc[0]
    write_corrections(project / "data/corrections.csv", [Correction(gone, "remove")])
    costs = Costs(read_params(ROOT / "params.yaml"), planned_run(project))
    assert gone not in costs.wanted(project / "data/manifests/images.csv").images
    plan = json.loads(run("plan", "--json"))
    split = next(stage for stage in plan["stages"] if stage["name"] == "split")
    assert split["fate"] == "will run"
    assert "data/corrections.csv" in "".join(split["reasons"])


def test_views_are_those_of_the_training_images(
    sampled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sampled)
    text = overlay((sampled / "params.yaml").read_text(), {"extract_features": VIEWS})
    (tmp_path / "params.yaml").write_text(text)
    parameters = read_params(tmp_path / "params.yaml")
    found = Costs(parameters, planned_run(sampled)).wanted(sampled / "data/manifests/images.csv")
    sample = read_split(sampled / "data/manifests/sample.csv")
    train = set(sample.loc[sample["split"] == "train", "image_id"])
    assert {split_key(key)[0] for key in found.views} == train
    assert len(set(found.views)) == 2 * len(train)


def test_recorded_features_need_no_pass(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("headstart.features.estimate.read_backbone", lambda _: RECORD)
    path = tmp_path / "params.yaml"
    path.write_text(overlay((ROOT / "params.yaml").read_text(), {"extract_features": VIEWS}))
    ids, parameters = [f"{number:064x}" for number in range(10)], read_params(path)
    views = RecordedViews.of(parameters.extract_features, parameters.seed)
    wanted = Wanted(ids, [key for image_id in ids[:4] for key in views.keys(image_id)])
    record, shape = fingerprint_record(RECORD, "litert"), RECORD.feature_shape

    split = Stage(
        name="split", desc="", cmd=("python -m stages.split --images i.csv",),
        deps=(), outs=(), metrics=(), plots=(), params=(), meta={}, parents=(),
    )  # fmt: skip
    costs = Costs(parameters, [Planned(split, Fate.UNCHANGED)])

    def missing(wanted: Wanted) -> tuple[int, float | None]:
        least, most, each = costs.missing(Path("backbone"), wanted)
        assert least == most
        return most, each

    typical = missing(Wanted(ids))[1]
    assert missing(Wanted(ids)) == (10, typical)
    assert missing(wanted) == (18, typical)
    with FeatureStore(record, shape) as store:
        store.put_many([(ids[3], np.zeros(4, np.float32))], seconds=0.25)
    assert missing(Wanted(ids)) == (9, 0.25)
    assert missing(wanted) == (17, 0.25)
    with FeatureStore(views.record(record), shape) as store:
        store.put_many([(key, np.zeros(4, np.float32)) for key in wanted.views[:5]], seconds=2.5)
    assert missing(wanted) == (12, (9 * 0.25 + 3 * 0.5) / 12)


@pytest.mark.parametrize("fate", Fate)
def test_images_are_divided_only_for_a_plan_that_runs_something(
    monkeypatch: pytest.MonkeyPatch, fate: Fate
) -> None:
    divided: list[Path] = []

    def read(path: Path) -> Any:
        divided.append(path)
        raise UnknownError("nobody knows", 5)

    monkeypatch.setattr("headstart.datasets.manifests.read_images", read)
    split = Stage(
        name="split", desc="", cmd=("python -m stages.split --images i.csv",),
        deps=(), outs=(), metrics=(), plots=(), params=(), meta={}, parents=(),
    )  # fmt: skip
    costs = Costs(read_params(ROOT / "params.yaml"), [Planned(split, fate)])
    runs = fate in {Fate.RUN, Fate.MAY}
    assert costs.work(Passes(0)).files == (5 if runs else 0)
    assert bool(divided) == runs


def test_recipes_are_listed_with_their_titles() -> None:
    listed = run("recipe")
    assert "cats-dogs " in listed
    assert "Your own images" in listed


def test_a_recipe_lists_its_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    said = run("recipe", "my-photos", "--set", "train_head.epochs=3")
    assert "download.source: embedded -> folder" in said
    assert read_params(tmp_path / "params.yaml").train_head.epochs == 3
    assert "Nothing to change." in run("recipe", "my-photos", "--set", "train_head.epochs=3")


def test_a_recipe_warns_about_missing_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "images.zip"
    words = ("recipe", "cats-dogs", "--set", f"download.location={place}")
    assert f"There is nothing at {place} yet" in run(*words)
    place.write_bytes(b"")
    assert "There is nothing at" not in run(*words)


def test_a_value_without_a_recipe_is_refused_rather_than_ignored() -> None:
    assert "`headstart recipe NAME --set" in run("recipe", "--set", "seed=1", code=2)


def test_showing_a_recipe_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("recipe", "cats-dogs", "--show").startswith("# Cats and dogs")
    assert list(tmp_path.iterdir()) == []


def test_a_summary_needs_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    subprocess.run(
        [sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"], cwd=tmp_path, check=True
    )
    monkeypatch.chdir(tmp_path)
    assert "Run the pipeline first" in run("summary", code=1)
