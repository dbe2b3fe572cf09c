"""The walk of docs/backbones.md with a network in a file: each command, as a user runs it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from benchmarks.checkout import Checkout
from tests.conftest import ROOT
from tests.images.made import png
from tests.keras.networks import network_files

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(3600)]

WALK = (ROOT / "docs/backbones.md").read_text().partition("\n## A backbone of your own\n")[2]
BLOCKS = re.findall(r"^   ```\n(.*?)^   ```$", WALK, re.MULTILINE | re.DOTALL)
COMMANDS = [[line.strip() for line in block.splitlines()] for block in BLOCKS]


def test_a_file_becomes_a_backbone_that_reproduces(tmp_path: Path) -> None:
    project = Checkout(tmp_path / "project", tmp_path / "store")
    network_files.onnx_file(tmp_path / "Downloads")
    who = {f"GIT_{role}_{key}": f"{key.lower()}@example.org"
           for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}  # fmt: skip
    project.environment |= {"HOME": str(tmp_path), **who}
    (project.folder / "photo.png").write_bytes(png(40, 30))
    said: dict[str, str] = {}
    for block in COMMANDS:
        for command in block:
            _, said[command] = project.run("bash", "-c", command)
            if command.startswith("headstart import-backbone"):
                paste(project, said[command])
    assert list(said)[-1] == "headstart reproduce HEAD"
    (record,) = project.folder.glob("backbones/*.json")
    tracked = project.git("ls-files", "backbones").split()
    assert tracked == [f"backbones/{record.name}"]  # The network itself is not in git.
    backbone = json.loads((project.folder / "data/backbone/backbone.json").read_text())
    assert (backbone["name"], backbone["weights"]) == ("file", "own.onnx")
    assert re.search(r"photo\.png.* \d", said["headstart predict photo.png"])
    reproduced = said["headstart reproduce HEAD"]
    assert "The backbone backbones/own.onnx is that of" in reproduced
    assert "Verdict: bit-exact" in reproduced


def paste(project: Checkout, said: str) -> None:
    """Set the values that the command printed for params.yaml."""
    lines = said.split("under `backbone`:\n")[1].splitlines()
    text = "\n".join(line for line in lines if line.startswith("  "))
    values = YAML(typ="safe").load(text)
    project.set(**{f"backbone__{key}": value for key, value in values.items()})
