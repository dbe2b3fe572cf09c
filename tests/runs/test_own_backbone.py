"""A backbone's own file outside of git: in a reproduction, with the SHA-256 of the commit."""

from __future__ import annotations

import json
import os
import shutil
from functools import partial
from pathlib import Path

import pytest

from headstart._utils.files import sha256_bytes, sha256_tree
from headstart.backbones.network_record import NetworkRecord
from tests.cli import running
from tests.runs import projects, toy

run = partial(running.run, "reproduce")

NETWORK = b"the bytes of a network"
RECORD = NetworkRecord(
    name="own", file="own.onnx", sha256=sha256_bytes(NETWORK), image_size=32,
    scale=(1.0, 1.0, 1.0), offset=(0.0, 0.0, 0.0), color_order="rgb", feature_shape=(24,),
    license="MIT", source="a test",
).model_dump_json()  # fmt: skip
#: As the stage of that name does: what it reads is kept in its folder.
STAGE = """\
import pathlib, shutil, sys
target = pathlib.Path("data/backbone")
target.mkdir(parents=True)
(target / "backbone.json").write_text("{}")
for given, kept in zip(sys.argv[1::2], sys.argv[2::2]):
    (target / kept).parent.mkdir(exist_ok=True)
    copy = shutil.copytree if pathlib.Path(given).is_dir() else shutil.copyfile
    copy(given, target / kept)
"""


def params(name: str, sha256: str, **values: str) -> str:
    section = {"name": name, "weights_sha256": sha256, **values}
    lines = "".join(f"  {key}: {value}\n" for key, value in section.items())
    return f"noise: 0.0\nother: 1\nbackbone:\n{lines}"


def make(home: Path, text: str, words: str, ignored: str = "/nets\n") -> Path:
    """A project whose stage `backbone` reads files in `nets`, which git ignores."""
    nets = home / "project" / "nets"
    (nets / "module").mkdir(parents=True)
    (nets / "own.onnx").write_bytes(NETWORK)
    (nets / "own.onnx.json").write_text(RECORD)
    (nets / "own.h5").write_bytes(b"weights")
    (nets / "module" / "saved_model.pb").write_bytes(b"a graph")
    (nets / "module.tar.gz").write_bytes(b"an archive")
    stage = (
        f"  backbone:\n    cmd: python -m stages.backbone {words}\n"
        "    params: [backbone]\n    outs: [data/backbone]\n"
    )
    return toy.make(
        home,
        **{
            "dvc.yaml": toy.PIPELINE + stage,
            "params.yaml": text,
            "stages/backbone.py": STAGE,
            ".gitignore": toy.FILES[".gitignore"] + ignored,
        },
    )


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("TMPDIR", str(tmp_path))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One with a network in a file."""
    text = params("file", sha256_bytes(RECORD.encode()), hub="null", weights="nets/own.onnx.json")
    words = "nets/own.onnx.json file/record.json nets/own.onnx file/own.onnx"
    folder = make(tmp_path / "home", text, words)
    monkeypatch.chdir(folder)
    return folder


def notes(folder: Path) -> list[str]:
    (path,) = (folder / "data/certificates").glob("*/certificate.json")
    return [note for note in json.loads(path.read_text())["notes"] if "backbone" in note]


def test_a_record_and_its_network_are_copied(project: Path) -> None:
    before = toy.state(project)
    assert "Verdict: bit-exact" in run("HEAD")
    assert notes(project) == [
        f"The backbone nets/{name} is that of {project}, copied."
        for name in ("own.onnx.json", "own.onnx")
    ]
    new = toy.state(project).keys() - before.keys()
    assert all(name.startswith("data") for name in new)


@pytest.mark.parametrize("fate", ["gone", "changed"])
def test_the_recorded_one_is_used_where_the_folder_has_it_no_more(project: Path, fate: str) -> None:
    if fate == "gone":
        shutil.rmtree(project / "nets")
    else:
        (project / "nets/own.onnx").write_bytes(b"another network")
        (project / "nets/own.onnx.json").write_text("{}")
    assert "Verdict: bit-exact" in run("HEAD")
    assert notes(project) == [
        f"The backbone nets/{name} is the recorded one, from DVC's cache."
        for name in ("own.onnx.json", "own.onnx")
    ]


def test_a_network_that_git_has_is_taken_from_the_commit(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    projects.git(project, "add", "--force", "nets/own.onnx.json")
    toy.commit(project, "the record in git")
    assert "Verdict: bit-exact" in run("HEAD")
    assert notes(project) == [f"The backbone nets/own.onnx is that of {project}, copied."]


def test_without_any_copy_nothing_is_run(project: Path) -> None:
    (project / "nets/own.onnx").write_bytes(b"another network")
    shutil.rmtree(project / ".dvc/cache")
    shutil.rmtree(project.parent / "storage", ignore_errors=True)
    said = run("HEAD", code=1)
    # The source of the data is in the folder: it is the backbone that is missing.
    assert "The backbone of the commit is missing: nets/own.onnx (`backbone.weights`)" in said
    assert sha256_bytes(NETWORK) in said
    assert sha256_bytes(b"another network") in said
    assert "train: ran" not in said


def test_weights_of_a_known_network_are_copied_only_with_their_sha256(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = params("mobilenet_v2", sha256_bytes(b"weights"), hub="null", weights="nets/own.h5")
    folder = make(tmp_path / "home", text, "nets/own.h5 backbone.weights.h5")
    monkeypatch.chdir(folder)
    assert "Verdict: bit-exact" in run("HEAD")
    assert notes(folder) == [f"The backbone nets/own.h5 is that of {folder}, copied."]
    (folder / "nets/own.h5").write_bytes(b"other weights")
    assert "is missing: nets/own.h5 (`backbone.weights`)" in run("HEAD", code=1)


@pytest.mark.parametrize("kind", ["module", "module.tar.gz"])
def test_a_module_of_tensorflow_hub(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "files"
    made.mkdir()
    (made / "saved_model.pb").write_bytes(b"a graph")
    text = params("hub", sha256_tree(made), hub=f"nets/{kind}", weights="hub")
    folder = make(tmp_path / "home", text, f"nets/{kind} module")
    monkeypatch.chdir(folder)
    assert "Verdict: bit-exact" in run("HEAD", "--certificate", "data/certificates/one")
    assert notes(folder) == [f"The backbone nets/{kind} is that of {folder}, copied."]
    if kind == "module":
        shutil.rmtree(folder / "nets")
        run("HEAD", "--certificate", "data/certificates/one")
        assert notes(folder) == ["The backbone nets/module is the recorded one, from DVC's cache."]


@pytest.mark.parametrize("weights", ["imagenet", "shipped"])
def test_words_and_absolute_paths_bring_nothing(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if weights == "shipped":
        weights = str(tmp_path / "home/project/nets/own.h5")
    text = params("mobilenet_v2", "null", hub="null", weights=weights)
    folder = make(tmp_path / "home", text, "")
    monkeypatch.chdir(folder)
    assert "Verdict: bit-exact" in run("HEAD")
    assert notes(folder) == []
