"""A small project under git and DVC, with a remote beside it, whose stages take no time."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from tests.runs import projects

PIPELINE = """\
stages:
  fetch:
    cmd: cp raw/data.txt data.txt
    deps: [raw]
    outs: [data.txt]
    meta: {source: true}
  train:
    cmd: python -m stages.train --run-statistics notes
    deps: [data.txt, stages/train.py]
    params: [noise]
    outs: [model, weights.csv]
    metrics: [{metrics.json: {cache: false}}]
    meta: {timeout_s: 60}
"""
# `stages` is also the name of our own package: the copy's has to win.
TRAIN = """\
import json, pathlib, sys
noise = float(pathlib.Path("params.yaml").read_text().split("noise:")[1].split()[0])
words = pathlib.Path("data.txt").read_text().split()
numbers = [len(word) + noise for word in words]
pathlib.Path("model").mkdir()
pathlib.Path("model/labels.txt").write_text("a b")
record = {"mean": sum(numbers) / len(numbers), "kind": "toy"}
pathlib.Path("model/record.json").write_text(json.dumps(record))
lines = [f"{word},{number!r}" for word, number in zip(words, numbers)]
pathlib.Path("weights.csv").write_text("\\n".join(["word,weight", *lines]) + "\\n")
pathlib.Path("metrics.json").write_text(json.dumps({"right": sum(n > 2.5 for n in numbers)}))
pathlib.Path("notes").mkdir(exist_ok=True)
pathlib.Path("notes/environment.json").write_text(json.dumps({"python": sys.version.split()[0]}))
print("trained on", len(words), "words")
"""
FILES = {
    "dvc.yaml": PIPELINE,
    "params.yaml": "noise: 0.0\nother: 1\n",
    "stages/__init__.py": "",
    "stages/train.py": TRAIN,
    ".dvcignore": "__pycache__\n",
    ".gitignore": "__pycache__\n/data.txt\n/model\n/weights.csv\n/raw\n/data\n",
    "README.md": "A toy\n",
}


def commit(folder: Path, message: str) -> str:
    projects.git(folder, "add", "--all")
    projects.git(folder, "commit", "-q", "-m", message)
    return projects.git(folder, "rev-parse", "HEAD").strip()


def make(home: Path, **changes: str) -> Path:
    """A project in ``home/project`` whose run is committed; its remote is ``home/storage``."""
    project = home / "project"
    for name, text in {**FILES, **changes}.items():
        file = project / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (project / "raw").mkdir()
    (project / "raw" / "data.txt").write_text("one three seven")
    projects.git(project, "init", "-q", "-b", "main")
    projects.call(project, "dvc", "init", "-q")
    # As our own project has it: relative to the folder of the settings.
    projects.call(project, "dvc", "remote", "add", "-q", "-d", "storage", "../storage")
    commit(project, "start")
    projects.call(project, "dvc", "repro", "-q")
    commit(project, "run")
    return project


def state(home: Path) -> dict[str, str]:
    """Every file below a folder with its content, mode and kind, so that any write is seen."""
    found = {}
    for inside, folders, names in os.walk(home):
        for name in (*folders, *names):
            path = Path(inside, name)
            mode = oct(path.lstat().st_mode)
            text = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            found[str(path.relative_to(home))] = f"{mode} {hashlib.md5(text).hexdigest()}"  # noqa: S324 - no secret
    return found
