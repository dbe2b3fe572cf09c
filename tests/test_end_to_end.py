"""The main job as a user runs it: ``dvc repro`` in a copy of the project, nothing mocked."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from ruamel.yaml import YAML

from benchmarks.checkout import Checkout
from tools.contract import declared

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(900)]


def lock(checkout: Checkout) -> dict[str, str]:
    """Every output of dvc.lock and its md5."""
    document = YAML(typ="safe").load((checkout.folder / "dvc.lock").read_text())
    return {
        out["path"]: out["md5"] for stage in document["stages"].values() for out in stage["outs"]
    }


def table(checkout: Checkout) -> dict[str, Any]:
    text = (checkout.folder / "data/run_statistics/runtime.json").read_text()
    found: dict[str, Any] = json.loads(text)
    return found


def stages_that_ran(output: str) -> list[str]:
    return re.findall(r"Running stage '(\w+)'", output)


@pytest.fixture(scope="module")
def cold(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkout, str]:
    folder = tmp_path_factory.mktemp("cold")
    checkout = Checkout(folder / "project", folder / "store")
    _, output = checkout.repro()
    return checkout, output


def test_the_embedded_default_runs_from_images_to_an_exported_model(
    cold: tuple[Checkout, str],
) -> None:
    checkout, output = cold
    assert set(stages_that_ran(output)) == set(declared())
    metrics = json.loads((checkout.folder / "data/metrics/evaluate.json").read_text())
    assert metrics["test_images"] > 100
    assert metrics["model"]["accuracy"] > 0.95
    assert not metrics["random_weights"]
    assert (checkout.folder / "data/export/model.keras").is_file()
    assert (checkout.folder / "data/export/saved_model/saved_model.pb").is_file()
    assert table(checkout)["passes_done"] == 1797


def test_the_run_ends_in_a_report(cold: tuple[Checkout, str]) -> None:
    checkout, _ = cold
    page = checkout.folder / "data/reports/index.html"
    text = page.read_text(encoding="utf-8")
    assert checkout.git("rev-parse", "HEAD").strip() in text
    assert "10 classes" in text
    _, said = checkout.run("headstart", "summary")
    assert said.strip().splitlines()[-1].startswith("Report: data/reports/index.html")


def test_nothing_runs_again(cold: tuple[Checkout, str]) -> None:
    checkout, _ = cold
    _, output = checkout.repro()
    assert stages_that_ran(output) == []


def test_git_sees_the_lock_and_the_metrics_and_nothing_else(cold: tuple[Checkout, str]) -> None:
    checkout, _ = cold
    new = checkout.git("status", "--porcelain", "--untracked-files=all").splitlines()
    for line in new:
        kept = r"metrics/\w+|run_statistics/(runtime|environment)"
        assert re.fullmatch(rf"(\?\?| M) (dvc\.lock|data/({kept})\.json)", line), line


def test_two_cold_runs_give_the_same_bytes(
    cold: tuple[Checkout, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("second")
    second = Checkout(folder / "elsewhere", folder / "another store")
    second.repro()
    assert lock(second) == lock(cold[0])


def test_a_sweep_keeps_a_head_as_the_experiment_that_it_would_be(
    cold: tuple[Checkout, str],
) -> None:
    checkout, _ = cold
    checkout.git("add", "--all")
    checkout.git("commit", "--quiet", "--message", "run")
    words = ("--set", "train_head.learning_rate=0.01", "--processes", "1")
    _, printed = checkout.run("headstart", "sweep", *words, "--keep", "2", "--json")
    found = json.loads(printed[printed.index("{") : printed.rindex("}") + 1])
    assert checkout.git("status", "--porcelain") == ""
    (name,) = checkout.run("dvc", "exp", "list", "--name-only")[1].split()
    assert f"Kept: {name}." in printed
    assert "The head of params.yaml is what `dvc repro` gives" in printed
    (row,) = [each for each in found["heads"] if each["changes"]]
    checkout.run("dvc", "exp", "apply", name)
    document = YAML(typ="safe").load((checkout.folder / "params.yaml").read_text())
    assert document["train_head"]["learning_rate"] == 0.01
    record = json.loads((checkout.folder / "data/models/head/model.json").read_text())
    assert record["validation"]["loss"] == row["loss"]
    assert record["validation"]["accuracy"] == row["accuracy"]
    _, output = checkout.repro()
    assert stages_that_ran(output) == ["make_report"]  # Its figures are in no cache.
    checkout.git("reset", "--quiet", "--hard")
    checkout.run("dvc", "checkout")


@pytest.mark.slow
def test_another_head_rate_runs_the_head_and_costs_no_pass(cold: tuple[Checkout, str]) -> None:
    checkout, _ = cold
    checkout.set(train_head__learning_rate=0.01)
    _, output = checkout.repro()
    stages = ["train_head", "fine_tune", "evaluate", "export", "make_report"]
    assert stages_that_ran(output) == stages
    assert table(checkout)["passes_done"] == 0
    assert table(checkout)["passes_cached"] == 1797


@pytest.mark.slow
def test_a_sample_after_the_full_run_costs_no_pass(cold: tuple[Checkout, str]) -> None:
    checkout, _ = cold
    before = json.loads((checkout.folder / "data/metrics/evaluate.json").read_text())
    checkout.set(sample__train_per_class=20, sample__validation_per_class=5)
    checkout.repro()
    after = json.loads((checkout.folder / "data/metrics/evaluate.json").read_text())
    assert table(checkout)["passes_done"] == 0
    assert after["test_images"] == before["test_images"]
    assert after["train_images"] == 200
    copied = list((checkout.folder / "data/sample/train").rglob("*.png"))
    assert len(copied) <= 200


@pytest.mark.slow
def test_a_run_whose_stages_come_from_the_cache_renders_the_page_again(
    cold: tuple[Checkout, str],
) -> None:
    checkout, _ = cold
    page = checkout.folder / "data/reports/index.html"
    for k in (1, 2, 1):
        checkout.set(evaluate__top_k=k)
        _, output = checkout.repro()
        assert "make_report" in stages_that_ran(output)
        assert f"Top-{k} accuracy" in page.read_text(encoding="utf-8")
    assert "evaluate" not in stages_that_ran(output)


def test_a_wrong_parameter_stops_the_run_with_its_line(cold: tuple[Checkout, str]) -> None:
    checkout, _ = cold
    checkout.set(train_head__epochs=0)
    _, output = checkout.run("dvc", "repro", check=False)
    assert (
        "The `train_head.epochs` parameter must be an integer ≥ 1 and ≤ 10000. Got 0 instead."
        in output
    )
    checkout.set(train_head__epochs=20)
