"""A converted network as a function: shapes, dtypes, batches, threads, damage."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from headstart._utils.errors import CorruptFileError, HeadstartError
from headstart.backbones.litert import LiteRTFunction
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from headstart.keras.networks.backbone import build_backbone, feature_model
    from headstart.keras.networks.conversion import to_tflite
    from headstart.keras.networks.pretrained import draw

    backbone = build_backbone("mobilenet", 0.25, 32)
    draw(backbone, 1)
    path = tmp_path_factory.mktemp("network") / "network.tflite"
    path.write_bytes(to_tflite(feature_model(backbone, None, "avg", "tf")))
    return path


def batch_of(count: int) -> np.ndarray:
    generator = np.random.Generator(np.random.Philox(key=7))
    return generator.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def test_shapes_and_dtypes(network: Path) -> None:
    function = LiteRTFunction(network)
    assert function.input_shape == (32, 32, 3)
    assert function.output_shape == (256,)
    assert function.input_dtype == np.uint8
    result = function(batch_of(3))
    assert result.shape == (3, 256)
    assert result.dtype == np.float32
    assert function(batch_of(0)).shape == (0, 256)


def test_bits_depend_on_neither_batch_nor_threads_nor_source(network: Path) -> None:
    batch = batch_of(8)
    expected = LiteRTFunction(network)(batch)
    one_by_one = [LiteRTFunction(network, threads=2)(batch[i : i + 1])[0] for i in range(8)]
    np.testing.assert_array_equal(expected, np.stack(one_by_one))
    np.testing.assert_array_equal(expected, LiteRTFunction(network.read_bytes())(batch))


def test_results_are_the_callers_own(network: Path) -> None:
    function = LiteRTFunction(network)
    first = function(batch_of(1))
    before = first.copy()
    function(batch_of(2)[1:])
    np.testing.assert_array_equal(first, before)


def test_an_instance_in_each_thread(network: Path) -> None:
    batch = batch_of(16)
    expected = LiteRTFunction(network)(batch)
    results: dict[int, np.ndarray] = {}

    def work(index: int) -> None:
        results[index] = LiteRTFunction(network)(batch)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [0, 1, 2, 3]
    for result in results.values():
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    "batch",
    [
        np.zeros((1, 32, 32, 3), dtype=np.float32),
        np.zeros((1, 31, 32, 3), dtype=np.uint8),
        np.zeros((32, 32, 3), dtype=np.uint8),
    ],
)
def test_wrong_batches(network: Path, batch: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected uint8 images of shape"):
        LiteRTFunction(network)(batch)


def test_absent_and_damaged_files(network: Path, tmp_path: Path) -> None:
    with pytest.raises(HeadstartError, match="dvc repro backbone"):
        LiteRTFunction(tmp_path / "none.tflite")
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(b"no network at all")
    with pytest.raises(CorruptFileError, match=r"damaged\.tflite"):
        LiteRTFunction(damaged)
    damaged.write_bytes(b"")
    with pytest.raises(CorruptFileError, match=r"damaged\.tflite"):
        LiteRTFunction(damaged)


def test_is_quiet_and_needs_no_tensorflow(network: Path) -> None:
    script = (
        "import sys, pathlib, numpy as np; from headstart.backbones.litert import LiteRTFunction; "
        "function = LiteRTFunction(pathlib.Path(sys.argv[1])); "
        "function(np.zeros((1, 32, 32, 3), dtype=np.uint8)); "
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(network)], cwd=ROOT, check=True, capture_output=True
    )
    assert done.stdout == b""
    assert done.stderr == b""
