"""The stage: figures that are the same byte for byte, and an untracked page beside them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from headstart.report.run import Files
from tests.report import made


def run(files: Files, to: Path, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The stage by its command line."""
    paths = {**made.options(files), "figures": to / "figures", "page": to / "index.html"}
    options = [f"--{name.replace('_', '-')}={path}" for name, path in paths.items()]
    return subprocess.run(
        [sys.executable, "-m", "stages.make_report", *options, *more],
        cwd=made.ROOT, env={"PATH": "", **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def figures(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted((folder / "figures").iterdir())}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return made.make(tmp_path_factory.mktemp("run") / "files")


@pytest.fixture(scope="module")
def first(files: Files, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder that the stage wrote, and what it said."""
    folder = tmp_path_factory.mktemp("first")
    done = run(files, folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_figures_are_the_same_whatever_a_users_settings(
    files: Files, first: tuple[Path, str], tmp_path: Path
) -> None:
    settings = tmp_path / "matplotlibrc"
    settings.write_text("font.size: 30\naxes.facecolor: red\nsavefig.dpi: 40\n")
    second = run(files, tmp_path / "second", MATPLOTLIBRC=str(settings), TZ="Asia/Tokyo")
    assert second.returncode == 0, second.stderr
    assert figures(first[0]) == figures(tmp_path / "second")
    assert set(figures(first[0])) == {
        f"{name}-{inks}.png"
        for name in (
            "accuracy",
            "batches",
            "calibration",
            "confusion",
            "learning_curve",
            "loss",
            "sizes",
        )
        for inks in ("light", "dark")
    }
    for file in (first[0] / "figures").iterdir():
        with Image.open(file) as image:
            assert not image.info.keys() - {"dpi"}, file


def test_the_stage_by_itself_reports_the_page_and_leaves_the_table_of_passes(
    files: Files, first: tuple[Path, str]
) -> None:
    assert str(first[0] / "index.html") in first[1]
    assert "make_report" in (first[0] / "index.html").read_text()
    table = json.loads((files.run_statistics / "runtime.json").read_text())
    assert "make_report" not in {row["stage"] for row in table["stages"]}
    entry = json.loads((files.run_statistics / "make_report.json").read_text())
    assert entry["seconds"] > 0


def test_it_needs_neither_tensorflow_nor_scikit_learn() -> None:
    code = (
        "import sys, stages.make_report, headstart.report.run\n"
        "print(sorted({'tensorflow', 'keras', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=made.ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_files_of_different_runs_are_refused(files: Files, tmp_path: Path) -> None:
    metrics = json.loads(files.metrics.read_text())
    metrics["classes"].append("zebra")
    other = tmp_path / "evaluate.json"
    other.write_text(json.dumps(metrics))
    done = run(files, tmp_path, f"--metrics={other}")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "index.html").exists()
