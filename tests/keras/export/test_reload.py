from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from headstart._utils.errors import HeadstartError
from headstart.keras.export.reload import Source, reader
from tests.runs.server import until
from tests.stages.small_run import ROOT, image

PIXELS = np.stack([np.asarray(image(kind, 5, side=16)) for kind in range(3)])
CONTENTS = [b"one", b"", b"three"]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of LiteRT: how red, green and blue an image is."""
    from headstart.keras.export.litert import write_float32
    from headstart.keras.runtime import configure, keras

    configure(2)
    entry = keras.Input((16, 16, 3))
    scaled = keras.layers.Rescaling(1 / 255)(entry)
    model = keras.Model(
        entry, keras.layers.Softmax()(keras.layers.GlobalAveragePooling2D()(scaled))
    )
    path = tmp_path_factory.mktemp("network") / "model.tflite"
    write_float32(Source(model), path)
    return path


def test_a_fresh_process_gives_the_predictions_of_the_format(network: Path) -> None:
    with reader(["tflite_float32"], PIXELS, CONTENTS) as fresh:
        fresh.read("tflite_float32", network)
        found = fresh.results()["tflite_float32"]
    means = PIXELS.astype(np.float64).mean(axis=(1, 2)) / 255
    expected = np.exp(means) / np.exp(means).sum(axis=1, keepdims=True)
    assert set(found.outputs) == {"pixels"}
    assert np.allclose(found.outputs["pixels"], expected, atol=1e-6)
    assert found.refused == {}


def test_one_process_reads_all_formats_one_after_the_other(network: Path) -> None:
    names = ["tflite_float32", "tflite_float16"]
    with reader(names, PIXELS, CONTENTS) as fresh:
        for name in names:
            fresh.read(name, network)
        found = fresh.results()
    assert list(found) == names
    one, other = (found[name].outputs["pixels"] for name in names)
    assert np.array_equal(one, other)


def test_a_format_that_cannot_be_loaded_is_reported_with_the_reason(
    network: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "model.tflite"
    damaged.write_bytes(b"no network")
    with (
        pytest.raises(HeadstartError, match=r"tflite_float32 was written, but .*Nothing was exp"),
        reader(["tflite_float16", "tflite_float32"], PIXELS, CONTENTS) as fresh,
    ):
        fresh.read("tflite_float16", network)
        fresh.read("tflite_float32", damaged)
        fresh.results()


#: As the stage does it: TensorFlow is not imported before the reader has been started.
COPYING = """
import json, sys
from pathlib import Path
import numpy as np
from headstart.keras.export.reload import reader
folder = Path(sys.argv[1])
images = np.zeros((2, 16, 16, 3), np.uint8)
images[0, ..., 0] = images[1, ..., 2] = 230
with reader(["saved_model"], images, [b"", b""]) as fresh:
    from tests.serving import models
    models.write(folder)
    fresh.read("saved_model", folder / "saved_model")
    found = fresh.results()["saved_model"]
first = [models.CLASSES[place] for place in found.outputs["pixels"].argmax(axis=1)]
print(json.dumps([type(fresh.process).__name__, first]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="copies are made on Linux only")
def test_tensorflow_is_imported_once_for_both_processes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COPYING, tmp_path / "export"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == ["Forked", ["red", "blue"]]


STARTER = """
import time
import numpy as np
from headstart.keras.export.reload import reader
formats = FORMATS
with reader(formats, np.zeros((1, 2, 2, 3), np.uint8), [b""]) as fresh:
    print(fresh.process.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("formats", [["tflite_float32", "tflite_float16"], ["saved_model"]])
def test_no_process_outlives_the_one_that_started_it(formats: list[str]) -> None:
    code = STARTER.replace("FORMATS", repr(formats))
    starter = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    try:
        started = int(starter.stdout.readline())
        assert alive(started)
    finally:
        starter.send_signal(signal.SIGKILL)
        starter.wait()
        starter.stdout.close()
    until(lambda: not alive(started), 2, "it ends")


def test_leaving_early_ends_what_was_started() -> None:
    with reader(["tflite_float32"], PIXELS, CONTENTS) as fresh:
        assert fresh.process.poll() is None
    assert fresh.process.returncode is not None


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    # One that nobody has asked for its exit code is dead, too.
    status = Path(f"/proc/{process}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")
