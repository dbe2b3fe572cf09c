"""What DVC shows of a project: plots without a network, and tables of a sensible width."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from benchmarks.checkout import Checkout
from headstart._utils.files import write_json
from headstart._utils.tables import leaves
from headstart.evaluation.predictions import read_predictions
from tests.browser import browser, look
from tests.conftest import ROOT
from tests.report import made
from tools import plots_page

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
        (data / "audit").mkdir(exist_ok=True)
        shutil.copy(files.learning_curve, data / "audit/learning_curve.csv")
        for file in (
            files.head_epochs, files.head_batches, files.fine_tune_epochs, files.calibration,
        ):  # fmt: skip
            shutil.copy(file, data / "plots" / file.name)
        said = read_predictions(files.predictions, names).rows
        table = said[["label", "predicted"]].set_axis(["actual", "predicted"], axis=1)
        table.to_csv(data / "plots/confusion.csv", index=False)
        shutil.copy(files.metrics, data / "metrics/evaluate.json")
        shutil.copy(files.export_metrics, data / "metrics/export.json")
        shutil.copy(files.run_statistics / "runtime.json", data / "run_statistics/runtime.json")
        rows = [{"label": name, "images": 3} for name in names]
        write_json(data / "metrics/download.json", {"kept": 306, "classes": rows})
        write_json(data / "metrics/split.json", {"images": {"train": 102}, "classes": rows})
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


def test_the_page_for_plots_names_whose_work_it_carries() -> None:
    """As the license files of the packages say it whose versions vl-convert bundles."""
    text = plots_page.PAGE.read_text(encoding="utf-8")
    for notice in (
        "Vega 6.2.0 and its parts, vega-interpreter:\nCopyright (c) 2015-2023, University of Wash",
        "Vega-Lite 5.21, Vega-Embed 7.0.2: Copyright (c) 2015, University of Washington",
        "vega-themes: Copyright (c) 2016, University of Washington Interactive Data Lab",
        "vega-tooltip: Copyright 2016 Interactive Data Lab and contributors",
        "vega-schema-url-parser: Copyright (c) 2017, Vega",
        "Copyright 2010-2024 Mike Bostock",
        "d3-delaunay: Copyright 2018-2021 Observable, Inc.; Copyright 2021 Mapbox",
        "delaunator: Copyright (c) 2017, Mapbox",
        "fast-json-patch: Copyright (c) 2013, 2014, 2020 Joachim Wester\n",
        "Copyright 2002 Cynthia Brewer, Mark Harrower, and The Pennsylvania State University\n",
        "\nLicensed under the Apache License, Version 2.0",
    ):
        assert notice in text
    # Named as bundled it must be in the bundle: this one's option has a name that no minifier cuts.
    assert ("lodash.debounce" in text) == ("maxWait" in text)


def test_a_plot_without_a_row_has_no_card_and_is_named(tmp_path: Path, chromium: Any) -> None:
    name = "Loss_of_fine-tuning"
    card = f'<div id="{name}"><script>vegaEmbed("#{name}", {{}});</script></div>'
    page = tmp_path / "index.html"
    text = plots_page.PAGE.read_text(encoding="utf-8")
    page.write_text(text.replace("{plot_divs}", card).replace("{refresh_tag}", ""))
    with look(chromium, page) as seen:
        assert not seen.page.is_visible("main > div")
        assert seen.page.inner_text("#empty") == "Nothing was recorded for: Loss of fine-tuning."
        assert not seen.errors


@pytest.mark.parametrize("words", [["show"], ["diff", "HEAD~1"]], ids=["show", "diff"])
def test_plots_are_drawn_without_a_network(
    project: Checkout, chromium: Any, words: list[str]
) -> None:
    to = project.folder / "dvc_plots"
    _, said = project.run("dvc", "plots", *words, "-o", str(to))
    plots = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["plots"]
    assert len(plots) == 8, said
    with look(chromium, to / "index.html") as seen:
        drawn = "Array.from(document.querySelectorAll('main svg.marks, main canvas'))"
        seen.page.wait_for_function(f"{drawn}.length === {len(plots)}")
        sides = seen.page.evaluate(
            f"{drawn}.map(plot => plot.getBoundingClientRect())"
            ".map(box => Math.min(box.width, box.height))"
        )
        assert min(sides) > 50
        seen.page.set_viewport_size({"width": 390, "height": 844})
        seen.page.reload()
        seen.page.wait_for_function(f"{drawn}.length === {len(plots)}")
        cut = "Array.from(document.querySelectorAll('main > div'))"
        assert not seen.page.evaluate(f"{cut}.filter(d => d.scrollWidth > d.clientWidth).length")
        assert not seen.requests
        assert not seen.errors
    if words[0] == "diff":
        text = (to / "index.html").read_text()
        assert '"rev": "HEAD~1"' in text
        assert '"rev": "workspace"' in text


def test_experiments_have_columns_of_what_one_compares(project: Checkout) -> None:
    _, said = project.run("dvc", "exp", "show", "--json")
    commit = json.loads(said)[0]["data"]
    columns = {name for metrics in commit["metrics"].values() for name in leaves(metrics["data"])}
    assert {"model.accuracy", "passes_done", "seconds"} <= columns
    assert not [name for name in columns if "class " in name]
    assert len(columns) < 70
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
