"""What every command says in a folder that is no project, or not under git."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from headstart.cli import show
from headstart.cli.app import app
from tests.cli.running import run
from tests.conftest import ROOT

# The commands of a project, and those that read its commits, with their arguments.
PROJECT = [
    ["plan"], ["run"], ["gate"], ["sizes", "96"], ["summary"], ["report"],
    ["compare-backbones", "mobilenet"], ["sweep", "--set", "train_head.learning_rate=0.1,0.2"],
    ["suggest", "."], ["drift", "."], ["review"], ["list-objects"],
    *(["show", name] for name in ("images", "image", "tree", "batch", "model")),
]  # fmt: skip
COMMITS = [["compare", "HEAD"], ["reproduce", "HEAD"], ["serve"]]
# The others need no project; each with its cure where it needs something else.
ELSEWHERE = [
    (["init"], None),
    (["doctor"], None),
    (["backbones"], None),
    (["import-backbone", "nothing.onnx"], "nothing.onnx"),
    (["params"], "headstart init"),
    (["recipe", "my-photos"], "headstart init"),
    (["predict", "x.png"], "dvc repro export"),
    (["features", "x.png"], "dvc repro export"),
    (["serve-model"], "dvc repro export"),
    (["classify", "x.png"], "--imagenet"),
    (["show", "module", "nothing"], "HANDLE must be"),
]


def names(group: typer.Typer, *prefix: str) -> set[tuple[str, ...]]:
    commands = [command.callback for command in group.registered_commands]
    return {(*prefix, each.__name__.replace("_", "-")) for each in commands if each}


def test_every_command_is_in_a_table() -> None:
    tables = [*PROJECT, *COMMITS, *(words for words, _ in ELSEWHERE)]
    listed = {tuple(words[: 2 if words[0] == "show" else 1]) for words in tables}
    assert listed == names(app) | names(show.app, "show")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return tmp_path


def one_line(said: str) -> str:
    assert said.startswith("Error: ")
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize("words", [*PROJECT, *COMMITS], ids=" ".join)
def test_a_folder_that_is_no_project(words: list[str], folder: Path) -> None:
    said = one_line(run(*words, code=1))
    assert f"{folder} is not a Headstart project: there is no dvc.yaml." in said
    assert "create a project with `headstart init my-project`" in said
    shutil.copy(ROOT / "dvc.yaml", folder)
    assert "there is no params.yaml" in one_line(run(*words, code=1))
    shutil.copy(ROOT / "params.yaml", folder)
    said = one_line(run(*words, code=1))
    assert f"DVC is not initialized in {folder}" in said
    assert "Run `dvc init`" in said
    assert sorted(path.name for path in folder.iterdir()) == ["dvc.yaml", "params.yaml"]


@pytest.mark.parametrize(
    ("words", "cure"), [(words, cure) for words, cure in ELSEWHERE if cure], ids=str
)
def test_a_command_that_needs_no_project(words: list[str], cure: str, folder: Path) -> None:
    said = run(
        *words,
        code=1 if words[0] in {"predict", "features", "serve-model", "import-backbone"} else 2,
    )
    assert cure in one_line(said)
    if cure == "headstart init":
        assert f"{folder} is not a Headstart project: there is no params.yaml." in said
    assert not list(folder.iterdir())


@pytest.fixture
def project(folder: Path) -> Path:
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, folder)
    (folder / ".dvc").mkdir()
    return folder


@pytest.mark.parametrize("words", COMMITS, ids=" ".join)
def test_a_project_without_commits(
    words: list[str], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = one_line(run(*words, code=1))
    assert f"{project} is not in a git repository" in said
    assert "`git init`" in said
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    said = one_line(run(*words, code=1))
    assert "has none. Run `git add --all`" in said
    monkeypatch.setenv("PATH", str(project))
    said = one_line(run(*words, code=1))
    assert "there is no `git` on the path" in said
    assert "Install git" in said


@pytest.mark.parametrize("words", [["plan"], ["summary"], ["show", "tree"]], ids=" ".join)
def test_a_project_of_which_dvc_finds_no_git(words: list[str], project: Path) -> None:
    assert "git" in one_line(run(*words, code=1))


def wide(render: Callable[[], str]) -> list[str]:
    return [line for line in render().splitlines() if len(line) > 80]


@pytest.mark.parametrize("words", [[], ["show"]], ids=str)
def test_the_list_of_commands_fits_80_columns_without_a_cut(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = run(*words, "--help")
    assert "..." not in said[said.index("--help ") :]
    assert not wide(lambda: said)
