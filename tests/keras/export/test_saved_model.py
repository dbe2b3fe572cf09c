"""The bytes of a SavedModel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from headstart._utils.files import sha256_tree
from tests.conftest import ROOT

WRITE = """
import sys
from pathlib import Path
from headstart.keras.export import keras_file, saved_model
from headstart.keras.export.reload import Source
from tests.keras.export.networks import classifier

folder = Path(sys.argv[1])
folder.mkdir()
source = Source(classifier(), ("a", "b", "c"))
if sys.argv[2] == "last":
    keras_file.write_keras(source, folder / "model.keras")
    keras_file.write_h5(source, folder / "model.h5")
saved_model.write(source, folder / "saved_model")
"""


def test_the_bytes_do_not_depend_on_what_was_written_before(tmp_path: Path) -> None:
    for place in ("first", "last"):
        command = [sys.executable, "-c", WRITE, str(tmp_path / place), place]
        subprocess.run(command, cwd=ROOT, check=True)
    assert sha256_tree(tmp_path / "first/saved_model") == sha256_tree(tmp_path / "last/saved_model")
