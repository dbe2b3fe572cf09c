"""A small project under git and DVC, with stages that anybody can run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

PIPELINE = """
stages:
  prepare:
    cmd: python work.py prepare
    deps: [work.py, raw.txt]
    outs: [data/prepared.txt]
  train:
    cmd: python work.py train
    deps: [work.py, data/prepared.txt]
    params: [rate, seconds]
    outs: [data/model.txt]
    metrics: [{data/metrics.json: {cache: false}}]
    plots: [{data/figures: {cache: false}}]
metrics:
  - data/seconds.json
"""

WORK = """
import json, pathlib, sys, time

data = pathlib.Path("data")
data.mkdir(exist_ok=True)
params = dict(line.split(": ") for line in pathlib.Path("params.yaml").read_text().splitlines())
with pathlib.Path("began.txt").open("a") as began:
    began.write(sys.argv[1] + "\\n")
if sys.argv[1] == "prepare":
    (data / "prepared.txt").write_text(pathlib.Path("raw.txt").read_text().upper())
else:
    end = time.monotonic() + float(params["seconds"])
    while time.monotonic() < end and not pathlib.Path("enough").exists():
        time.sleep(0.05)
    words = (data / "prepared.txt").read_text().split()
    (data / "model.txt").write_text(" ".join(words) + params["rate"])
    score = {"accuracy": len(words) * float(params["rate"]), "parts": {"deep": {"deeper": 1}}}
    (data / "metrics.json").write_text(json.dumps(score))
    (data / "figures").mkdir(exist_ok=True)
    (data / "figures" / "words.svg").write_text(f"<svg>{len(words)}</svg>")
(data / "seconds.json").write_text(json.dumps({"now": time.time()}))
"""


def call(folder: Path, *words: str, **variables: str) -> str:
    """Run a command that must succeed, with nobody's git configuration; return its output."""
    environment = {
        **os.environ, "DVC_NO_ANALYTICS": "1",
        "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", **variables,
    }  # fmt: skip
    done = subprocess.run(
        words, cwd=folder, env=environment, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, f"{words} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def git(folder: Path, *words: str) -> str:
    """Run git as somebody."""
    who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    return call(folder, "git", *who, *words)


def dvc(folder: Path, *words: str) -> str:
    """Run DVC."""
    return call(folder, sys.executable, "-m", "dvc", *words)


def make(folder: Path) -> Path:
    """A project whose stages never ran, committed."""
    folder.mkdir(parents=True)
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "work.py").write_text(WORK)
    (folder / "params.yaml").write_text("rate: 0.5\nseconds: 0\n")
    (folder / "raw.txt").write_text("one two three")
    (folder / ".gitignore").write_text(
        "__pycache__/\nbegan.txt\nenough\n/data/prepared.txt\n/data/model.txt\n"
    )
    shutil.copytree(ROOT / "flows", folder / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    git(folder, "init", "--quiet", "--initial-branch=main")
    dvc(folder, "init", "--quiet")
    dvc(folder, "config", "core.analytics", "false")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "start")
    return folder
