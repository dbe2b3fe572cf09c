from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart._utils.errors import CorruptFileError, HeadstartError
from headstart.export.record import write_exported
from headstart.serving import rest
from headstart.serving.models import load_classifier as load
from tests.conftest import ROOT
from tests.serving import models

#: In a process of its own, because of TensorFlow: where both formats were exported, and where the
#: SavedModel alone was. Its signatures are read as TensorFlow Serving reads them.
SCRIPT = """
import json, sys
import numpy as np
from pathlib import Path
from headstart.serving.models import load_classifier as load
pixels = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)
lite = load(Path(sys.argv[1]))
assert lite.format == "tflite_float32" and lite.batch == 1
assert "tensorflow" not in sys.modules
full = load(Path(sys.argv[2]))
assert full.format == "saved_model" and full.batch > 1
assert lite(pixels).shape == (40, 3) and lite(pixels).dtype == np.float32

from tensorflow.core.framework.types_pb2 import DataType
from tensorflow.core.protobuf import saved_model_pb2
saved = saved_model_pb2.SavedModel.FromString(
    (Path(sys.argv[1]) / "saved_model" / "saved_model.pb").read_bytes()
)
def tensors(side):
    return {
        name: [DataType.Name(one.dtype), [dim.size for dim in one.tensor_shape.dim]]
        for name, one in side.items()
    }
print(json.dumps({
    "difference": float(np.abs(lite(pixels) - full(pixels)).max()),
    "signatures": {
        name: {"inputs": tensors(one.inputs), "outputs": tensors(one.outputs)}
        for name, one in saved.meta_graphs[0].signature_def.items()
        if not name.startswith("__")
    },
}))
"""


@pytest.fixture(scope="module")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.shared(tmp_path_factory)


@pytest.fixture(scope="module")
def told(colors: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("alone") / "export"
    shutil.copytree(colors, folder)
    write_exported(folder, models.record(folder, ("saved_model",)))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(colors), str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_both_engines_agree_and_litert_needs_no_tensorflow(told: dict[str, Any]) -> None:
    assert told["difference"] < 1e-5


def test_the_service_describes_the_signatures_of_the_saved_model(told: dict[str, Any]) -> None:
    said = rest.metadata("colors", models.SIZE, len(models.CLASSES))
    signatures = said["metadata"]["signature_def"]["signature_def"]
    described = {
        name: {
            side: {
                tensor: [
                    details["dtype"],
                    [int(dim["size"]) for dim in details["tensor_shape"]["dim"]],
                ]
                for tensor, details in signature[side].items()
            }
            for side in ("inputs", "outputs")
        }
        for name, signature in signatures.items()
    }
    assert told["signatures"] == described


def test_a_form_that_was_not_exported_is_named_with_those_that_were(colors: Path) -> None:
    with pytest.raises(HeadstartError, match=r"tflite_int8 was not exported.*tflite_float32"):
        load(colors, "tflite_int8")


def test_a_folder_without_a_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HeadstartError, match="is not an exported model"):
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
    with pytest.raises(CorruptFileError, match="did not give finite numbers"):
        classifier(np.zeros((1, 16, 16, 3), np.uint8))
