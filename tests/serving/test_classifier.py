from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from serving.classifier import load
from stages.artifacts.exported_model import write_exported
from stages.core.errors import CorruptFileError, HeadstartError
from tests.conftest import ROOT
from tests.serving import models

BOTH = """
import sys
import numpy as np
from pathlib import Path
from serving.classifier import load
pixels = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)
lite = load(Path(sys.argv[1]))
assert lite.form == "tflite_float32" and lite.batch == 1
assert "tensorflow" not in sys.modules
full = load(Path(sys.argv[2]))  # Where the SavedModel alone was exported.
assert full.form == "saved_model" and full.batch > 1
assert lite(pixels).shape == (40, 3) and lite(pixels).dtype == np.float32
print(float(np.abs(lite(pixels) - full(pixels)).max()))
"""


@pytest.fixture(scope="module")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.shared(tmp_path_factory)


def test_both_engines_say_the_same_and_litert_needs_no_tensorflow(
    colors: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "export"
    shutil.copytree(colors, folder)
    write_exported(folder, models.record(folder, ("saved_model",)))
    done = subprocess.run(
        [sys.executable, "-c", BOTH, str(colors), str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1e-5


def test_a_form_that_was_not_exported_is_named_with_those_that_were(colors: Path) -> None:
    with pytest.raises(HeadstartError, match=r"tflite_int8 was not exported.*tflite_float32"):
        load(colors, "tflite_int8")


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(HeadstartError, match="no exported model"):
        load(tmp_path)


def test_a_file_that_was_changed_is_not_loaded(colors: Path, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    shutil.copytree(colors, folder)
    file = folder / "model_float32.tflite"
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(CorruptFileError, match="was not loaded"):
        load(folder)


def test_a_network_that_gives_no_probabilities_is_refused(colors: Path) -> None:
    classifier = load(colors)
    object.__setattr__(classifier, "run", lambda pixels: np.full((len(pixels), 3), np.nan))
    with pytest.raises(CorruptFileError, match="no finite probability"):
        classifier(np.zeros((1, 16, 16, 3), np.uint8))
