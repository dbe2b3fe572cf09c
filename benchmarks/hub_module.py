"""A backbone of Keras as a module in TensorFlow Hub's format: recipes tried without a network.

    python -m benchmarks.hub_module --backbone mobilenet_v2 --size 224 --output module

It takes images of 0 to 1 and gives a feature vector; its variables can be trained, and it takes the
argument `training`, as the modules of that host do. Its weights are Keras' ImageNet weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.checkout import Size, start
from headstart._utils.files import sha256_tree
from headstart.backbones.registry import find


def write_module(backbone: Any, preprocessing: str, folder: Path) -> None:
    """Write a module.

    Parameters
    ----------
    backbone : keras.Model
        Headless and uncut.
    preprocessing : str
        The preprocessing of pixels from 0 to 255 before it.
    folder : Path
        Must not exist.
    """
    from headstart._utils.quiet import quiet_stderr
    from headstart.keras.networks.backbone import pool, preprocess
    from headstart.keras.runtime import keras, tf

    images = keras.Input(backbone.input_shape[1:], name="images")
    pixels = keras.layers.Rescaling(255.0)(images)
    model = keras.Model(images, pool(backbone(preprocess(pixels, preprocessing)), "avg"))

    @tf.function  # type: ignore[untyped-decorator]  # TensorFlow
    def call(inputs: Any, training: bool = False) -> Any:
        return model(inputs, training=training)

    specification = tf.TensorSpec((None, *backbone.input_shape[1:]), tf.float32, name="inputs")
    for training in (True, False):
        call.get_concrete_function(specification, training=training)
    saved = tf.train.Checkpoint()
    saved.__call__ = call
    saved.variables = [weight.value for weight in model.weights]
    saved.trainable_variables = [weight.value for weight in model.trainable_weights]
    saved.regularization_losses = []
    with quiet_stderr():
        tf.saved_model.save(saved, str(folder))
    (folder / "fingerprint.pb").unlink(missing_ok=True)  # a random number


def main(
    output: Annotated[Path, typer.Option(help="a new folder")],
    backbone: Annotated[str, typer.Option(help="as `headstart backbones`")] = "mobilenet_v2",
    alpha: float = 1.0,
    size: Size = 224,
    weights: Annotated[str, typer.Option(help="as `backbone.weights`")] = "imagenet",
) -> None:
    """Write a module and print its hash."""
    known = find(backbone, alpha, size)
    from headstart.keras.networks.pretrained import obtain

    network = obtain(backbone, alpha, size, weights, seed=0).backbone
    write_module(network, known.preprocessing, output)
    print(f"{output}: sha256 {sha256_tree(output)}")


if __name__ == "__main__":
    start(main, __doc__)
