"""What DVC shows of a project: plots without a network, and tables of a sensible width."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from ruamel.yaml import YAML

from benchmarks.checkout import Checkout
from stages.artifacts.predictions import read_predictions
from stages.core.files import write_json
from tests import plots_page
from tests.browser import browser, look
from tests.conftest import ROOT
from tests.stages.report import made

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy of the project with the plots and metrics of a run, in two commits that differ."""
    folder = tmp_path_factory.mktemp("project")
    checkout = Checkout(folder / "project", folder / "store")
    names = [f"class {number:03}" for number in range(30)]
    data = checkout.folder / "data"
    for number, wrong in enumerate((0.5, 0.2)):
        files = made.make(folder / f"run{number}", classes=names, each=1, wrong=wrong, tuning=2)
        (data / "plots").mkdir(exist_ok=True)
        for file in (
            files.head_epochs, files.head_batches, files.fine_tune_epochs, files.calibration,
        ):  # fmt: skip
            shutil.copy(file, data / "plots" / file.name)
        said = read_predictions(files.predictions, names).rows
        table = said[["label", "predicted"]].set_axis(["actual", "predicted"], axis=1)
        table.to_csv(data / "plots/confusion.csv", index=False)
        shutil.copy(files.metrics, data / "metrics/evaluate.json")
        shutil.copy(files.export_metrics, data / "metrics/export.json")
        shutil.copy(files.journal / "runtime.json", data / "journal/runtime.json")
        rows = [{"label": name, "pictures": 3} for name in names]
        write_json(data / "metrics/download.json", {"kept": 306, "classes": rows})
        write_json(data / "metrics/split.json", {"pictures": {"train": 102}, "classes": rows})
        checkout.git("add", "--all", "--force")
        checkout.git("commit", "--quiet", "--message", f"run {number}")
    return checkout


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as opened:
        yield opened


def test_the_page_for_plots_is_what_is_generated() -> None:
    assert plots_page.PAGE.read_text(encoding="utf-8") == plots_page.plots_page(), (
        "run `make plots`"
    )


def test_the_page_for_plots_has_no_address_to_fetch_from() -> None:
    text = plots_page.PAGE.read_text(encoding="utf-8")
    assert "{plot_divs}" in text
    assert "{scripts}" not in text
    assert "default-src 'none'" in text
    assert "<script src" not in text
    assert "Copyright (c) 2015-2024, University of Washington Interactive Data Lab" in text


@pytest.mark.parametrize("words", [["show"], ["diff", "HEAD~1"]], ids=["show", "diff"])
def test_plots_are_drawn_without_a_network(
    project: Checkout, chromium: Any, words: list[str]
) -> None:
    to = project.folder / "dvc_plots"
    _, said = project.run("dvc", "plots", *words, "-o", str(to))
    plots = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["plots"]
    assert len(plots) == 7, said
    with look(chromium, to / "index.html") as seen:
        drawn = "Array.from(document.querySelectorAll('main svg.marks, main canvas'))"
        seen.page.wait_for_function(f"{drawn}.length === {len(plots)}")
        sides = seen.page.evaluate(
            f"{drawn}.map(plot => plot.getBoundingClientRect())"
            ".map(box => Math.min(box.width, box.height))"
        )
        assert min(sides) > 50
        assert not seen.requests
        assert not seen.errors
    if words[0] == "diff":
        text = (to / "index.html").read_text()
        assert '"rev": "HEAD~1"' in text
        assert '"rev": "workspace"' in text


def leaves(node: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def test_experiments_have_columns_of_what_one_compares(project: Checkout) -> None:
    _, said = project.run("dvc", "exp", "show", "--json")
    commit = json.loads(said)[0]["data"]
    columns = {name for metrics in commit["metrics"].values() for name in leaves(metrics["data"])}
    assert {"model.accuracy", "head.accuracy", "passes_done", "seconds"} <= columns
    assert not [name for name in columns if "class " in name]
    assert len(columns) < 60
    assert commit["params"]["params.yaml"]["data"]["train_head"]["epochs"]


def test_metrics_diff_says_what_became_better(project: Checkout) -> None:
    _, said = project.run("dvc", "metrics", "diff", "HEAD~1", "--json")
    found = json.loads(said)
    change = found["data/metrics/evaluate.json"]["model.accuracy"]
    assert change["diff"] > 0


def test_the_commands_of_the_vs_code_extension_answer(project: Checkout) -> None:
    for words in (["data", "status", "--json"], ["plots", "diff", "HEAD~1", "--json"]):
        _, said = project.run("dvc", *words)
        assert isinstance(json.loads(said), dict)
