from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from headstart._utils.errors import CorruptFileError
from headstart._utils.files import read_json
from headstart.audit import tables
from headstart.audit.parameters import AuditParams
from headstart.datasets.duplicates import write_groups
from headstart.stage.run_statistics import RunStatistics
from stages.audit import main
from tests.audit.made_features import clouds, mislabel

RUNTIME = Path("runtime.txt")
WRITTEN = ("issues.csv", "outliers.csv", "classes.csv", "curve.csv", "audit.json")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    mislabel(clouds(), [4, 19]).write(tmp_path)
    write_groups(tmp_path / "groups.csv", {})
    return tmp_path


def run(project: Path, *, enabled: bool = True, to: str = "") -> None:
    (project / to).mkdir(exist_ok=True)
    issues, outliers, classes, curve, metrics = (project / to / name for name in WRITTEN)
    main(
        project / "features",
        project / "sample.csv",
        project / "groups.csv",
        RUNTIME,
        issues,
        outliers,
        classes,
        curve,
        metrics,
        42,
        AuditParams(enabled=enabled, neighbors=10, small_class=20),
        RunStatistics(project, "audit"),
    )


def test_the_stage_writes_tables_that_read_back_and_the_same_bytes_again(project: Path) -> None:
    run(project)
    run(project, to="again")
    for name in WRITTEN:
        assert (project / name).read_bytes() == (project / "again" / name).read_bytes()
    issues = tables.read_issues(project / "issues.csv")
    assert issues["path"].tolist()[:2] in (["00004.png", "00019.png"], ["00019.png", "00004.png"])
    assert set(issues["label"]) <= {"=ant", "bee", "cat"}
    assert "'=ant" in (project / "classes.csv").read_text()
    assert tables.read_classes(project / "classes.csv")["label"].tolist() == ["=ant", "bee", "cat"]
    assert len(tables.read_outliers(project / "outliers.csv")) == 24
    assert set(tables.read_curve(project / "curve.csv")["kind"]) == {"measured", "forecast"}
    metrics = read_json(project / "audit.json")
    assert metrics["label_issues"]["wrong_labels"] == 2
    assert metrics["images"] == 180


def test_an_audit_that_is_off_writes_empty_tables(project: Path) -> None:
    run(project, enabled=False)
    assert read_json(project / "audit.json") == {"images": 0}
    assert len(tables.read_curve(project / "curve.csv")) == 0


def test_a_damaged_table_names_the_remedy(project: Path) -> None:
    run(project)
    (project / "issues.csv").write_text("rank,path\n")
    with pytest.raises(CorruptFileError, match="dvc repro --force audit"):
        tables.read_issues(project / "issues.csv")


def test_it_needs_neither_tensorflow_nor_scikit_learn() -> None:
    code = (
        "import sys, stages.audit\n"
        "print(sorted({'tensorflow', 'keras', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
