"""A project of a user's own: created, run, and compared with a newer library."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from headstart._utils.errors import RECORD, HeadstartError, ParameterError
from headstart._utils.files import sha256_bytes
from headstart.cli.app import app
from headstart.pipeline.graph import stages
from headstart.projects import create as projects
from headstart.projects.missing_parameters import with_missing
from headstart.projects.shipped import PATTERNS
from headstart.stage.parameters import read_params
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("init") / "my-flowers"
    projects.create(folder)
    return folder


def test_a_project_has_the_whole_pipeline(project: Path) -> None:
    assert [stage.name for stage in stages(project)] == [stage.name for stage in stages(ROOT)]
    for path in ("stages/split.py", "flows/pipeline.py", "data/raw", ".dvc/config", "README.md"):
        assert (project / path).exists(), path
    assert (project / ".git").is_dir()
    assert "../../my-flowers-storage" in (project / ".dvc/config").read_text()


def test_stages_depend_on_the_version_of_the_library_and_not_on_its_folders(project: Path) -> None:
    document = YAML(typ="safe").load((project / "dvc.yaml").read_text())
    for name, stage in document["stages"].items():
        assert "runtime.txt" in stage["deps"], name
        assert f"stages/{name}.py" in stage["deps"]
        assert not [dep for dep in stage["deps"] if dep.startswith("headstart")]
    version = metadata.version("headstart")
    assert f"headstart=={version}" in (project / "runtime.txt").read_text().splitlines()


def test_the_lock_names_what_the_library_needs(project: Path) -> None:
    lock = (project / "requirements.lock").read_text()
    for name in ("headstart", "tensorflow", "dvc", "prefect", "numpy"):
        assert f"\n{name}=={metadata.version(name)}\n" in lock
    assert "pytest==" not in lock
    assert "://" not in lock


def test_a_file_that_exists_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("mine: 1\n")
    with pytest.raises(HeadstartError, match=r"already has params\.yaml\. Nothing was written"):
        projects.create(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_a_folder_with_images_becomes_a_project(tmp_path: Path) -> None:
    (tmp_path / "data/raw/cat").mkdir(parents=True)
    (tmp_path / "data/raw/cat/1.jpg").write_bytes(b"a photo")
    projects.create(tmp_path)
    assert (tmp_path / "data/raw/cat/1.jpg").read_bytes() == b"a photo"
    assert (tmp_path / "dvc.yaml").is_file()


def test_without_git_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    result = CliRunner().invoke(app, ["init", str(tmp_path / "mine")])
    assert result.exit_code == 1
    assert "git is not installed" in result.output
    assert "Install git" in result.output
    assert not (tmp_path / "mine").exists()


def test_inside_a_repository_no_second_one_is_made(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    projects.create(tmp_path / "inner")
    assert not (tmp_path / "inner/.git").exists()
    assert (tmp_path / "inner/.dvc").is_dir()
    assert stages(tmp_path / "inner")


def test_an_upgrade_tells_an_edited_file_from_one_that_only_the_library_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    projects.create(tmp_path)
    assert projects.changes(tmp_path) == []
    (tmp_path / "stages/split.py").write_text("# mine\n")
    assert projects.changes(tmp_path) == []  # changed by the user alone
    newer = dict(projects.project_files(tmp_path.name))
    newer["stages/split.py"] += b"# newer\n"
    newer["stages/sample.py"] += b"# newer\n"
    newer["stages/added.py"] = b"# new\n"
    del newer["flows/reproduce.py"]
    monkeypatch.setattr(projects, "project_files", lambda _: newer)
    found = {change.path: change.kind for change in projects.changes(tmp_path)}
    assert found == {
        "flows/reproduce.py": "removed",
        "stages/added.py": "added",
        "stages/sample.py": "replaced",
        "stages/split.py": "conflict",
    }
    result = CliRunner().invoke(app, ["init", "--upgrade", str(tmp_path)])
    assert "+# newer" in result.output
    assert "4 files would change; --apply writes them." in result.output
    result = CliRunner().invoke(app, ["init", "--upgrade", "--apply", str(tmp_path)])
    assert "Wrote 3 of 4 changes." in result.output
    assert (tmp_path / "stages/split.py").read_text() == "# mine\n"
    assert (tmp_path / "stages/sample.py").read_bytes().endswith(b"# newer\n")
    assert not (tmp_path / "flows/reproduce.py").exists()
    assert [change.path for change in projects.changes(tmp_path)] == []


def test_an_upgrade_adds_the_file_of_corrections_and_never_changes_it(tmp_path: Path) -> None:
    projects.create(tmp_path)
    file = tmp_path / "data/corrections.csv"
    empty = file.read_bytes()
    file.write_text("mine\n")
    assert projects.changes(tmp_path) == []
    file.unlink()  # a project of a version without it
    found = projects.changes(tmp_path)
    assert [(change.path, change.kind) for change in found] == [("data/corrections.csv", "added")]
    projects.upgrade(tmp_path, found)
    assert file.read_bytes() == empty
    ignored = ["git", "check-ignore", "-q", "data/corrections.csv"]
    assert subprocess.run(ignored, cwd=tmp_path, check=False).returncode == 1


def older(folder: Path) -> None:
    """Make a project and take away what a later version has added; the user has set a value."""
    projects.create(folder)
    yaml = YAML(typ="rt")
    for name, section in (("dvc.yaml", "stages"), ("params.yaml", "")):
        file = folder / name
        document = yaml.load(file.read_text())
        part = document[section] if section else document
        for stage in ("audit", "find_duplicates"):
            del part[stage]
        if not section:
            del document["train_head"]["calibration"]
        with file.open("w") as stream:
            yaml.dump(document, stream)
    (folder / "stages/audit.py").unlink()
    record = folder / RECORD
    hashes = json.loads(record.read_text())
    for name in ("dvc.yaml", "params.yaml"):
        hashes["files"][name] = sha256_bytes((folder / name).read_bytes())
    del hashes["files"]["stages/audit.py"]
    record.write_text(json.dumps(hashes))
    file = folder / "params.yaml"
    text = file.read_text().replace("epochs: 30", "epochs: 7  # mine")
    file.write_text(f"{text}# The end.\n")


def test_the_remedy_for_a_project_of_an_older_version_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = (tmp_path / "params.yaml").read_text()
    with pytest.raises(ParameterError) as caught:
        read_params(Path("params.yaml"))
    for name in ("audit", "find_duplicates", "train_head.calibration"):
        assert f"The `{name}` parameter is missing" in str(caught.value)
    remedy = "headstart init --upgrade . --apply"
    assert f"`{remedy}` adds what is new, and keeps your values." in str(caught.value)
    for command in (["review"], ["compare-backbones", "current"]):
        refused = CliRunner().invoke(app, command)
        assert refused.exit_code == 2
        assert f"`{remedy}`" in refused.output, command

    done = CliRunner().invoke(app, remedy.split()[1:])
    assert "extended: params.yaml" in done.output
    assert "merge the lines above by hand" not in done.output
    after = (tmp_path / "params.yaml").read_text()
    params = read_params(Path("params.yaml"))
    assert params.train_head.epochs == 7
    assert params.audit.neighbors == 10
    lines = iter(after.splitlines())
    assert all(line in lines for line in before.splitlines())  # all of them, in this order
    assert "  # Judge labels, classes and splits on the cached features" in after
    assert [stage.name for stage in stages(tmp_path)] == [stage.name for stage in stages(ROOT)]
    assert (tmp_path / "stages/audit.py").is_file()
    assert projects.changes(tmp_path) == []
    review = CliRunner().invoke(app, ["review"])
    assert "There is no data/manifests/images.csv yet" in review.output


@pytest.mark.parametrize(
    ("old", "new", "becomes"),
    [
        ("a: 1\n", "# b\nb: 2\na: 0\n", "# b\nb: 2\na: 1\n"),
        ("a:\n  b: 1 # mine\n\n# last\nc: 2", "a:\n  b: 0\n  # d\n  d: 4\nc: 0\n",
         "a:\n  b: 1 # mine\n  # d\n  d: 4\n\n# last\nc: 2\n"),
        ("z: 1\na: 2\n", "a: 0\nb:\n  - 1\nz: 0\n", "z: 1\na: 2\nb:\n  - 1\n"),
        ("a: {b: 1}\n", "a:\n  b: 0\n  c: 1\n", "a: {b: 1}\n"),
        ("a: [\n", "a: 1\nb: 2\n", "a: [\n"),
    ],
)  # fmt: skip
def test_missing_parameters_are_added_and_no_line_changes(old: str, new: str, becomes: str) -> None:
    assert with_missing(old, new) == becomes


def test_a_folder_that_init_did_not_make_has_no_upgrade(tmp_path: Path) -> None:
    with pytest.raises(HeadstartError, match="not a project that `headstart init` made"):
        projects.changes(tmp_path)


def test_the_wheel_carries_one_package_and_the_project(tmp_path: Path) -> None:
    # A copy: setuptools would leave `build/` behind, and take it for part of the next wheel.
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    for path in filter(None, listed):
        if (ROOT / path).is_file() and not path.startswith(("tests/", "docs/")):
            (tmp_path / "copy" / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, tmp_path / "copy" / path)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--disable-pip-version-check", "--wheel-dir", str(tmp_path), str(tmp_path / "copy")],
        check=True, capture_output=True,
    )  # fmt: skip
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"headstart"}
    for pattern in PATTERNS:
        shipped = [path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern)]
        assert shipped, pattern
        assert not [path for path in shipped if f"headstart/_shipped/{path}" not in names]
    for data in ("projects/template/README.md", "report/templates/report.html", "py.typed"):
        assert f"headstart/{data}" in names


@pytest.mark.slow  # the whole pipeline, half a minute
def test_a_new_project_ends_in_a_model(tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    projects.create(folder)
    result = subprocess.run(
        [sys.executable, "-m", "dvc", "repro"], cwd=folder, check=False, capture_output=True,
        text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert (folder / "data/export/model.keras").is_file()
    assert (folder / "data/reports/index.html").is_file()
