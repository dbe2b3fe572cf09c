"""Every damaged file of a run is named, with the cure."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from headstart._utils.errors import CorruptFileError, HeadstartError
from headstart.evaluation import passes
from headstart.features.folder import read_features
from headstart.report.parameters import MakeReportParams
from headstart.report.run import Files, Run, draw, show
from headstart.stage.cures import with_cure
from headstart.stage.page import Page
from headstart.stage.run_statistics import RunStatistics
from headstart.training.model_folder import read_model
from tests.report import made

OUTPUTS = {
    "extract_features": "data/features",
    "train_head": "data/models/head",
    "evaluate": "data/reports/predictions.csv",
}


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    stages = "".join(
        f"  {name}:\n    outs:\n    - {{path: {path}, md5: x, hash: md5}}\n"
        for name, path in OUTPUTS.items()
    )
    (tmp_path / "dvc.lock").write_text(f"stages:\n{stages}")
    return tmp_path


@pytest.mark.parametrize(("stage", "output"), list(OUTPUTS.items()))
def test_the_stage_that_writes_a_damaged_file_is_named(lock: Path, stage: str, output: str) -> None:
    said = with_cure(CorruptFileError(f"{output}/x is damaged."), lock)
    assert f"`dvc repro --force --single-item {stage}` writes it again" in said
    assert "`headstart doctor --remove`" in said


def test_other_messages_stay_as_they_are(lock: Path) -> None:
    for error in (
        HeadstartError("data/features is odd."),
        CorruptFileError("elsewhere/x is damaged."),
        CorruptFileError("data/features is damaged. Run `dvc repro train_head`."),
    ):
        assert with_cure(error, lock) == str(error)
    (lock / "dvc.lock").write_text("{")
    assert with_cure(CorruptFileError("data/features/x is damaged."), lock)


@pytest.mark.parametrize("content", [b"", b"{}", b"\0\xff" * 40, b"[1, 2", b"a,b\n1"])
def test_model_and_features_are_named_with_their_cure(
    lock: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.chdir(lock)
    for output, name, read in (
        ("data/models/head", "model.json", read_model),
        ("data/features", "features.json", read_features),
    ):
        folder = Path(output)
        folder.mkdir(parents=True)
        (folder / name).write_bytes(content)
        with pytest.raises(CorruptFileError) as caught:
            read(folder)
        said = with_cure(caught.value)
        assert f"{output}/{name}" in said
        assert "dvc repro" in said


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return made.make(tmp_path_factory.mktemp("run") / "data")


FILES = (
    "sample.csv", "rejected.csv", "backbone/backbone.json", "head_epochs.csv", "head_batches.csv",
    "fine_tune_epochs.csv", "predictions.csv", "evaluate.json", "calibration.csv", "export.json",
    "run_statistics/runtime.json", "run_statistics/environment.json",
    "run_statistics/extract_features.json",
)  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_the_report_names_each_damaged_file(
    whole: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(whole.manifest.parent, "data")
    files = Files(
        **{key: Path("data") / path.relative_to(whole.manifest.parent) for key, path in
           vars(whole).items()}
    )  # fmt: skip
    file = Path("data") / name
    Path("dvc.lock").write_text(
        f"stages:\n  maker:\n    outs:\n    - {{path: {file}, md5: x, hash: md5}}\n"
    )
    params = MakeReportParams(images=4, watts_per_core=5.0)
    # Drawing the figures, which comes before the statistics are read, takes a second.
    for content in (b"[1, 2",) if "statistics" in name else (b"", b"\0\xff" * 40, b"[1, 2"):
        file.write_bytes(content)
        with pytest.raises(HeadstartError) as caught:
            run = Run(files)
            Path("drawn").mkdir(exist_ok=True)
            draw(run, Path("drawn"))
            show(run, Path("drawn"), Page(Path("p.html"), {}), 1, params)
        said = with_cure(caught.value)
        assert str(file) in said
        assert "dvc repro" in said or "Remove it" in said


def test_damaged_statistics_do_not_fail_a_stage_that_has_done_its_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "split.json").write_text("{")
    (tmp_path / passes.TABLE).write_text("{}")
    statistics = RunStatistics(tmp_path, "export")
    passes.refresh_table(statistics)
    assert not capsys.readouterr().out.startswith("The table")  # alone, it leaves the table
    RunStatistics(tmp_path, "evaluate").write()
    passes.refresh_table(statistics)
    assert "runtime.json is not a valid record" in capsys.readouterr().out
    assert passes.write_table(statistics, 5)["feature_rows"] == 5
    assert "split.json is damaged, and its counters are left out" in capsys.readouterr().out
