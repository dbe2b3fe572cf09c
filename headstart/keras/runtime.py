"""The one place that imports TensorFlow and Keras: quietly, quickly, and always set up the same.

Use ``from headstart.keras.runtime import keras, tf`` everywhere else in this folder.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from headstart._utils.errors import HeadstartError
from headstart._utils.quiet import quiet_stderr

# TensorFlow imports these where they are installed, although nothing here needs them of it: half
# of its import time.
_NOT_NEEDED = ("pandas", "sklearn", "matplotlib", "scipy")


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
with quiet_stderr(), _without_modules():
    import keras
    import tensorflow as tf

    # Here, and not at the first operation, because looking for CUDA is noisy as well.
    _GPUS = [device.name for device in tf.config.list_physical_devices("GPU")]
keras.config.set_floatx("float32")
keras.config.set_epsilon(1e-7)
keras.config.set_image_data_format("channels_last")

__all__ = ["configure", "deterministic", "fresh_names", "keras", "physical_gpus", "tf"]


def physical_gpus() -> list[str]:
    """Names of the GPUs that TensorFlow can use on this machine, without touching them."""
    return list(_GPUS)


def configure(threads: int, seed: int = 0) -> None:
    """Fix what decides the bits of a computation, before the first one.

    Parameters
    ----------
    threads : int
        CPU threads, of one operation and between operations.
    seed : int
        Of Python's, NumPy's and TensorFlow's global generators (its lower 32 bits are taken).

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
                f"process; {threads} were asked for. The number decides bits and cannot be "
                "changed any more. Start a new process."
            ) from error
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed % 2**32)
    _say_once()


@contextmanager
def deterministic() -> Iterator[None]:
    """Have TensorFlow use deterministic operations in a block, in a process of somebody else.

    Unlike :func:`configure` it leaves the number of threads and the global generators alone, and
    undoes what it did: with deterministic operations on, random ones without a seed are errors.
    """
    # Public by name alone in one direction: TensorFlow documents no way to switch them off.
    from tensorflow.python.framework import config

    if config.is_op_determinism_enabled():
        yield
        return
    tf.config.experimental.enable_op_determinism()
    try:
        yield
    finally:
        config.disable_op_determinism()


def _say_once() -> None:
    """Have TensorFlow say now, unheard, which numbers its fast kernels do not take on this CPU.

    It says so once a process, as an error, though nothing is wrong; real errors stay visible.
    """
    with quiet_stderr(), tf.device("CPU"):
        tf.cast(tf.zeros(1, tf.float16), tf.float32)
        tf.transpose(tf.zeros((2, 2), tf.float16))
        tf.transpose(tf.zeros((2, 2), tf.uint8))


@contextmanager
def fresh_names() -> Iterator[None]:
    """Number the names that Keras gives to layers from the start, whatever was built before.

    Without it a second InceptionV3 of a process has other layer names than the first one. Unlike
    ``keras.backend.clear_session`` it leaves seeds and existing models alone.
    """
    from keras.src.backend.common import global_state

    before = global_state.get_global_attribute("object_name_uids")
    global_state.set_global_attribute("object_name_uids", None)
    try:
        yield
    finally:
        global_state.set_global_attribute("object_name_uids", before)
