"""The one import of TensorFlow: quiet, without what it does not need, failing as it should."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def in_process(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=ROOT, check=False, capture_output=True, text=True, env={**os.environ, **environment},
    )  # fmt: skip


def test_import_is_quiet_and_set_up_the_same_everywhere(tmp_path: Path) -> None:
    # A user's own settings of Keras must not reach the results.
    settings = {"backend": "jax", "floatx": "float16", "image_data_format": "channels_first"}
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    done = in_process(
        "from headstart.keras.runtime import configure, fresh_names, keras, physical_gpus, tf\n"
        "import sys\n"
        "assert not {'sklearn', 'matplotlib', 'pandas'} & set(sys.modules)\n"
        "configure(2, seed=2**40 + 1)\n"
        "configure(2, seed=1)\n"
        "first = float(keras.random.uniform(()))\n"
        "configure(2, seed=2**32 + 1)\n"
        "assert float(keras.random.uniform(())) == first\n"
        "assert isinstance(physical_gpus(), list)\n"
        "with fresh_names():\n"
        "    assert keras.layers.Dense(1).name == 'dense'\n"
        "    assert keras.layers.Dense(1).name == 'dense_1'\n"
        "assert keras.layers.Dense(1).name == 'dense'\n"
        "import pandas\n"
        "pandas.DataFrame()\n"
        "print(keras.config.floatx(), keras.config.image_data_format(), keras.backend.backend())\n"
        "configure(3)\n",
        KERAS_HOME=str(tmp_path),
    )
    assert done.stdout.split() == ["float32", "channels_last", "tensorflow"]
    assert done.returncode == 1
    assert "Start a new process" in done.stderr
    lines = done.stderr.splitlines()
    assert lines[0].startswith("Traceback"), done.stderr


def test_types_that_the_cpu_lacks_are_not_reported_as_an_error() -> None:
    done = in_process(
        "from headstart.keras.runtime import configure, tf\n"
        "configure(2)\n"
        "for kind in (tf.float16, tf.uint8, tf.bfloat16):\n"
        "    tf.transpose(tf.zeros((4, 4), kind))\n"
        "    tf.function(lambda x: tf.cast(x, tf.float32) + 1)(tf.zeros((4, 4), kind))\n",
        PYTHONUNBUFFERED="1",
    )
    assert done.returncode == 0
    assert "oneDNN" not in done.stderr


GENERATES = """
import linecache, os
from headstart.keras.runtime import configure, tf
configure(2)
def halved(x):
    while tf.reduce_sum(x) > 1:
        x /= 2
    return x
assert float(tf.function(halved)(tf.constant(8.0))) == 1
assert any("__autograph_generated_file" in name for name in linecache.cache)
os._exit(7)
"""


def test_no_generated_file_stays_behind(tmp_path: Path) -> None:
    # AutoGraph reads the source of what it converts, so this is a file.
    script, temporary = tmp_path / "script.py", tmp_path / "temporary"
    script.write_text(GENERATES)
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, str(script)], check=False, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)},
    )  # fmt: skip
    assert done.returncode == 7, done.stderr
    assert [path for path in temporary.rglob("*") if path.is_file()] == []
