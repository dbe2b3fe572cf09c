"""A TensorFlow Hub module as the headless backbone: one Keras 3 layer over its own variables.

``hub.KerasLayer`` belongs to Keras 2 and cannot enter a Keras 3 model. Of its features, this layer
has those that a backbone needs: the variables of a module of TensorFlow 2, their regularization
losses and its training mode; a module in the older hub format, or with signatures alone, gives
features that cannot be trained.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from headstart._utils.errors import HeadstartError, ParameterError
from headstart.backbones.registry import HUB
from headstart.keras.networks.hub_module import Interface, load_interface, why
from headstart.keras.runtime import fresh_names, keras, tf

#: The layer's name in the backbone.
LAYER = "module"


def build_hub(folder: Path, image_size: int | None) -> keras.Model:
    """Build a backbone from a module.

    Parameters
    ----------
    folder : Path
        The module's files.
    image_size : int or None
        Side of the images; None takes what the module expects.

    Returns
    -------
    keras.Model
        Images of 0 to 1, float32 (n, size, size, 3), to features: its one layer is
        :data:`LAYER`.

    Raises
    ------
    ParameterError
        If the module expects another size, or takes any size and none is given.
    HeadstartError
        If it gives no image features.
    """
    interface = load_interface(folder)
    size = _size(interface, image_size)
    with fresh_names():
        images = keras.Input((size, size, 3), name="images")
        try:
            features = HubLayer(interface)(images)
        except Exception as error:
            raise HeadstartError(
                f"This module does not take images of {size} × {size}: {why(error)}"
            ) from error
        shape = getattr(features, "shape", ())
        if len(shape) not in {2, 4} or any(side is None for side in shape[1:]):
            raise HeadstartError(
                f"This module gives {shape or type(features).__name__}; a feature vector or a map "
                "of known size is needed. Use one with 'feature-vector' in its name."
            )
        return keras.Model(images, features, name=HUB)


class HubLayer(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """A module as a layer: Keras trains and saves the module's own variables."""

    def __init__(self, interface: Interface, name: str = LAYER) -> None:
        super().__init__(name=name)
        self._interface = interface
        for number, variable in enumerate((*interface.trainable, *interface.fixed)):
            learns = number < len(interface.trainable)
            known = keras.Variable(
                variable, shape=variable.shape, dtype=variable.dtype.name, trainable=learns,
                name=variable.name.partition(":")[0].replace("/", "_"),
            )  # fmt: skip
            if known.value is not variable:
                raise RuntimeError("Keras copied a variable of the module; it would never learn")
            if not number and learns and interface.losses:
                known.regularizer = self._regularization  # Keras adds it wherever this one learns
            self._track_variable(known)
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the features of a batch of images."""
        interface = self._interface
        options = {"training": bool(training)} if interface.takes_training else {}
        features = interface.function(inputs, **options)
        # Casts those of mixed-precision modules; several arrays are refused by build_hub.
        return tf.cast(features, "float32") if tf.is_tensor(features) else features

    def _regularization(self, _: Any) -> Any:
        return tf.add_n([tf.cast(loss(), "float32") for loss in self._interface.losses])


def _size(interface: Interface, asked: int | None) -> int:
    expected = interface.size
    if asked is None and expected is None:
        raise ParameterError(
            "The `backbone.image_size` parameter must be an integer: this module takes images "
            "of any size. Got null instead. Its page says what it was trained on, often 224."
        )
    if asked is not None and expected is not None and asked != expected:
        raise ParameterError(
            f"The `backbone.image_size` parameter must be {expected}, or null, which reads it from "
            f"the module. Got {asked} instead."
        )
    return asked or expected or 0
