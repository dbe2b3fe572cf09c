"""The import of TensorFlow and Keras: quiet, quick, and always set up the same.

Use ``from headstart.keras.runtime import keras, tf`` everywhere else in this room.
"""

from __future__ import annotations

import importlib.util
import io
import linecache
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from headstart._utils.collection import uncollected
from headstart._utils.errors import HeadstartError
from headstart._utils.quiet import quiet_stderr

# TensorFlow imports these where they are installed. Nothing here needs that, and it takes half of
# the import time.
_NOT_NEEDED = ("pandas", "sklearn", "matplotlib", "scipy", "IPython")


@contextmanager
def _without_modules() -> Iterator[None]:
    blocked = [name for name in _NOT_NEEDED if name not in sys.modules]
    for name in blocked:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in blocked:
            if sys.modules.get(name) is None:
                sys.modules.pop(name, None)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# A user's keras.json may name another backend, number format or layout; the results must not
# depend on it.
os.environ["KERAS_BACKEND"] = "tensorflow"
with quiet_stderr(), _without_modules(), uncollected():
    import keras
    import tensorflow as tf
    from tensorflow.python.autograph.pyct import loader

    # Here, and not at the first operation, because looking for CUDA is noisy as well.
    _GPUS = [device.name for device in tf.config.list_physical_devices("GPU")]


def _load_without_file(source: str, delete_on_exit: bool, load: Any = loader.load_source) -> Any:
    """Load what AutoGraph generated, and delete its file at once.

    AutoGraph deletes its files at exit, which os._exit and signals skip. Tracebacks read the lines
    from the cache.
    """
    module, name = load(source, delete_on_exit)
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    for path in (name, importlib.util.cache_from_source(name)):
        Path(path).unlink(missing_ok=True)
    return module, name


loader.load_source = _load_without_file
keras.config.set_floatx("float32")
keras.config.set_epsilon(1e-7)
keras.config.set_image_data_format("channels_last")

__all__ = ["configure", "fresh_names", "has_started", "keras", "physical_gpus", "silence", "tf"]


@contextmanager
def silence() -> Iterator[None]:
    """Discard messages, log lines and warnings of packages that we call and cannot change."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with quiet_stderr(), redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def physical_gpus() -> list[str]:
    """Return the names of the GPUs that TensorFlow can use, without touching them."""
    return list(_GPUS)


def has_started() -> bool:
    """Return whether TensorFlow has computed anything in this process; importing it is nothing."""
    from tensorflow.python.eager import context

    return bool(context.context()._initialized)  # noqa: SLF001 - public calls would start it


def configure(threads: int, seed: int = 0) -> None:
    """Set everything that decides the bits of a computation, before the first one.

    Parameters
    ----------
    threads : int
        CPU threads, of one operation and between operations.
    seed : int
        Of Python's, NumPy's and TensorFlow's global generators; its lower 32 bits are used.

    Raises
    ------
    HeadstartError
        If this process has already computed with another number of threads.
    """
    config = tf.config.threading
    for get, put in (
        (config.get_intra_op_parallelism_threads, config.set_intra_op_parallelism_threads),
        (config.get_inter_op_parallelism_threads, config.set_inter_op_parallelism_threads),
    ):
        if get() == threads:
            continue
        try:
            put(threads)
        except RuntimeError as error:
            raise HeadstartError(
                f"TensorFlow already computes with {get() or 'its own number of'} threads in this "
                f"process; {threads} were requested. The number decides bits and can no longer be "
                "changed. Start a new process."
            ) from error
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed % 2**32)
    _warn_once_unheard()


def _warn_once_unheard() -> None:
    """Let TensorFlow report now, with its output discarded, the types that its kernels lack.

    It reports them once per process, as an error, though nothing is wrong. Real errors stay
    visible.
    """
    with quiet_stderr(), tf.device("CPU"):
        tf.cast(tf.zeros(1, tf.float16), tf.float32)
        tf.transpose(tf.zeros((2, 2), tf.float16))
        tf.transpose(tf.zeros((2, 2), tf.uint8))


@contextmanager
def fresh_names() -> Iterator[None]:
    """Let Keras number the names of layers from zero, whatever was built before.

    Without it, a second InceptionV3 in a process has other layer names than the first. Unlike
    ``keras.backend.clear_session``, it leaves seeds and existing models alone.
    """
    from keras.src.backend.common import global_state

    before = global_state.get_global_attribute("object_name_uids")
    global_state.set_global_attribute("object_name_uids", None)
    try:
        yield
    finally:
        global_state.set_global_attribute("object_name_uids", before)
