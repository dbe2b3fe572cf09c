"""Modules as TensorFlow Hub has them, made here: no network, and small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from headstart._utils.quiet import quiet_stderr
from headstart.keras.runtime import tf

#: hub.Module of TensorFlow 1 wrote this file: format version 3.
_OLD = b"\x08\x03"


class Extractor(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
    """Convolution, batch normalization, relu and average: what a feature vector is made of."""

    def __init__(self, width: int, seed: int, *, pooled: bool) -> None:
        super().__init__()
        draw = np.random.default_rng(seed)
        kernel = draw.normal(size=(5, 5, 3, width), scale=0.3).astype(np.float32)
        self.kernel = tf.Variable(kernel, name="conv/kernel")
        self.gamma = tf.Variable(np.ones(width, np.float32), name="bn/gamma")
        self.mean = tf.Variable(np.zeros(width, np.float32), trainable=False, name="bn/mean")
        self.variance = tf.Variable(np.ones(width, np.float32), trainable=False, name="bn/variance")
        self.pooled = pooled

    @tf.function  # type: ignore[untyped-decorator]  # TensorFlow
    def __call__(
        self, inputs: Any, training: bool = False, batch_norm_momentum: float = 0.9
    ) -> Any:
        values = tf.nn.conv2d(inputs, self.kernel, 2, "SAME")
        mean, variance = self.mean, self.variance
        if training:
            mean, variance = tf.nn.moments(values, [0, 1, 2])
            for known, found in ((self.mean, mean), (self.variance, variance)):
                known.assign(known * batch_norm_momentum + found * (1 - batch_norm_momentum))
        values = tf.nn.relu((values - mean) * tf.math.rsqrt(variance + 1e-3) * self.gamma)
        return tf.reduce_mean(values, [1, 2]) if self.pooled else values


def reusable(
    folder: Path, size: int | None = 32, *, width: int = 24, seed: int = 0, pooled: bool = True
) -> Path:
    """A SavedModel of TensorFlow 2 with everything that Hub asks of one that can be trained."""
    made = Extractor(width, seed, pooled=pooled)
    images = tf.TensorSpec((None, size, size, 3), tf.float32)
    for training in (True, False):
        made.__call__.get_concrete_function(images, training=training)
    # The interface of modules that can be trained: plain attributes beside the function.
    saved = tf.train.Checkpoint()
    saved.__call__ = made.__call__
    saved.variables = [made.kernel, made.gamma, made.mean, made.variance]
    saved.trainable_variables = [made.kernel, made.gamma]
    loss = tf.function(lambda: 0.01 * tf.nn.l2_loss(made.kernel), input_signature=[])
    saved.regularization_losses = [loss]
    with quiet_stderr():
        tf.saved_model.save(saved, str(folder))
    return folder


def called(
    folder: Path,
    *,
    shape: tuple[int | None, ...] = (None, 32, 32, 3),
    takes: str = "float32",
    gives: str = "float32",
    training: tuple[bool, ...] = (True, False),
    listed: tuple[str, ...] = (),
    extra: Any = None,
    table: bool = False,
    prints: bool = False,
) -> Path:
    """A SavedModel of TensorFlow 2 that is called, in one of the ways in which people make them.

    ``training``: what it is traced for. ``listed``: all that it names of its variables, if any.
    ``extra``: a variable of another kind. ``table``: whether it looks something up.
    """
    made = Extractor(24, 0, pooled=True)
    saved = tf.train.Checkpoint(made=made)
    if extra is not None:
        saved.extra = tf.Variable(extra, name="extra")
    if table:
        keys, values = tf.constant([0, 1], tf.int64), tf.constant([1.0, 2.0])
        pairs = tf.lookup.KeyValueTensorInitializer(keys, values)
        saved.table = tf.lookup.StaticHashTable(pairs, 0.0)

    @tf.function  # type: ignore[untyped-decorator]  # TensorFlow
    def call(images: Any, *, training: bool = False) -> Any:
        features = made(tf.cast(images, tf.float32), training=training)
        if extra is not None:
            features += 0.0 if tf.size(saved.extra) > 1 else 1.0
        if table:
            features *= saved.table.lookup(tf.constant([1], tf.int64))
        if prints:
            features = tf.compat.v1.Print(features, [features])
        return tf.cast(features, gives)

    for mode in training:
        call.get_concrete_function(tf.TensorSpec(shape, tf.as_dtype(takes)), training=mode)
    saved.__call__ = call
    if listed:
        saved.variables = saved.trainable_variables = [getattr(made, name) for name in listed]
    with quiet_stderr():
        tf.saved_model.save(saved, str(folder))
    return folder


def signature_alone(folder: Path, name: str = "serving_default", size: int = 32) -> Path:
    """A SavedModel that cannot be called."""
    made = Extractor(24, 0, pooled=True)
    batch = tf.TensorSpec((None, size, size, 3), tf.float32)
    saved = tf.train.Checkpoint(kept=[made.kernel, made.gamma, made.mean, made.variance])
    function = tf.function(lambda images: {"features": made(images)}, input_signature=[batch])
    with quiet_stderr():
        tf.saved_model.save(saved, str(folder), signatures={name: function})
    return folder


def old_format(folder: Path, size: int = 32, width: int = 24) -> Path:
    """What ``hub.Module`` of TensorFlow 1 exported."""
    v1 = tf.compat.v1
    draw = np.random.default_rng(0)
    with tf.Graph().as_default(), v1.Session() as session, quiet_stderr():
        images = v1.placeholder(tf.float32, (None, size, size, 3), "images")
        kernel = v1.get_variable(
            "kernel", initializer=draw.normal(size=(5, 5, 3, width), scale=0.3).astype(np.float32)
        )
        features = tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(images, kernel, 2, "SAME")), [1, 2])
        session.run(v1.global_variables_initializer())
        signature = v1.saved_model.predict_signature_def({"images": images}, {"default": features})
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, [], signature_def_map={"default": signature})
        builder.save()
    (folder / "tfhub_module.pb").write_bytes(_OLD)
    return folder


def reads_files(folder: Path) -> Path:
    """A module with a graph that reads a file of the machine."""

    @tf.function(input_signature=[tf.TensorSpec((None, 32, 32, 3), tf.float32)])  # type: ignore[untyped-decorator]  # TensorFlow
    def call(images: Any) -> Any:
        length = tf.strings.length(tf.io.read_file("/etc/hostname"))
        return tf.reduce_mean(images, [1, 2]) + tf.cast(length, tf.float32)

    saved = tf.train.Checkpoint()
    saved.__call__ = call
    with quiet_stderr():
        tf.saved_model.save(saved, str(folder))
    return folder
