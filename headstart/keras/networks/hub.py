"""A TensorFlow Hub module as the headless backbone: one layer of Keras 3 over its own variables.

``hub.KerasLayer`` belongs to Keras 2 and cannot enter a model of Keras 3, and needs a package that
nobody maintains. Of what it does, this is what a backbone needs: a module of TensorFlow 2 (a
SavedModel
that can be called) with its variables, their regularization losses and its mode of training; or, as
features that cannot be trained, one in the older hub format or with signatures alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from headstart._utils.errors import HeadstartError, ParameterError
from headstart._utils.quiet import quiet_stderr
from headstart.backbones.hub_handles import HUB
from headstart.keras.networks.hub_checks import (
    argument,
    check_operations,
    check_resources,
    takes,
    why,
)
from headstart.keras.runtime import fresh_names, keras, tf

#: The layer's name in the backbone.
LAYER = "module"
#: What tells the older format (``hub.Module`` of TensorFlow 1) from SavedModels.
_OLD_FORMAT = "tfhub_module.pb"
_SIGNATURES = ("default", "serving_default")


@dataclass(frozen=True)
class Interface:
    """How a loaded module is used.

    Attributes
    ----------
    kind : str
        In words, for people.
    function : callable
        From images, float32 (n, size, size, 3) of 0 to 1, to features.
    takes_training : bool
        Whether the function can be told that it is training.
    size : int or None
        Side of the images that it expects; None: it says none.
    trainable, fixed : tuple of tf.Variable
        What may learn, and what may not.
    losses : tuple of callable
        Regularization, each without arguments.
    module : object
        What was loaded: TensorFlow takes away what its function needs once nobody holds it.
    """

    kind: str
    function: Any
    takes_training: bool
    size: int | None
    trainable: tuple[Any, ...]
    fixed: tuple[Any, ...]
    losses: tuple[Any, ...]
    module: Any


def load_interface(folder: Path) -> Interface:
    """Load a module's files.

    Raises
    ------
    HeadstartError
        If TensorFlow cannot load it, it reaches for files or Python, or it offers no function from
        any number of images to features.
    """
    check_operations(folder)
    old = (folder / _OLD_FORMAT).is_file()
    try:
        with quiet_stderr():
            loaded = tf.saved_model.load(str(folder), tags=[] if old else None)
    except Exception as error:  # TensorFlow raises what it likes, by what is wrong with the file
        raise HeadstartError(f"TensorFlow cannot load this module: {why(error)}") from error
    if callable(loaded) and not old:
        return _reusable(loaded)
    for name in _SIGNATURES:
        if name in loaded.signatures:
            return _by_signature(loaded, name, old=old)
    raise HeadstartError(
        "This module can neither be called nor has it a signature `default` or `serving_default`: "
        f"{', '.join(loaded.signatures) or 'none'} is what there is. A feature vector of images "
        "is needed ('feature-vector' in its name on TensorFlow Hub)."
    )


def build_hub(folder: Path, image_size: int | None) -> keras.Model:
    """A module as a backbone.

    Parameters
    ----------
    folder : Path
        The module's files.
    image_size : int or None
        Side of the images; None: what the module expects.

    Returns
    -------
    keras.Model
        Images of 0 to 1, float32 (n, size, size, 3), to features: its one layer is
        :data:`LAYER`.

    Raises
    ------
    ParameterError
        If the module expects another size, or says none and none is given.
    HeadstartError
        If it is no module of image features.
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
                f"This module gives {shape or type(features).__name__}, and no feature vector or "
                "map of known size. Take one with 'feature-vector' in its name."
            )
        return keras.Model(images, features, name=HUB)


class HubLayer(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """A module as a layer: Keras trains and saves the module's own variables."""

    def __init__(self, interface: Interface) -> None:
        super().__init__(name=LAYER)
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
        """Features of a batch of images."""
        interface = self._interface
        told = {"training": bool(training)} if interface.takes_training else {}
        features = interface.function(inputs, **told)
        # Of a mixed-precision module; anything but one array is refused where the backbone is
        # built.
        return tf.cast(features, "float32") if tf.is_tensor(features) else features

    def _regularization(self, _: Any) -> Any:
        return tf.add_n([tf.cast(loss(), "float32") for loss in self._interface.losses])


def _reusable(loaded: Any) -> Interface:
    function = loaded.__call__
    traces = function.concrete_functions
    size = takes(traces)
    used = _variables(traces)
    check_resources(traces, used)
    learning = getattr(loaded, "trainable_variables", None)
    if learning is None:
        learning = [variable for variable in used if variable.trainable]
    trainable = tuple(variable for variable in learning if variable.dtype.is_floating)
    every = {id(each): each for each in (*(getattr(loaded, "variables", None) or ()), *used)}
    chosen = {id(variable) for variable in trainable}
    modes = [argument(function, trace, "training") for trace in traces]
    told = any(mode is True or isinstance(mode, tf.TensorSpec) for mode in modes)
    return Interface(
        kind="SavedModel of TensorFlow 2",
        # Traced for inference alone, it knows no other word for it than the one it was traced with.
        function=partial(function, training=False) if not told and False in modes else function,
        takes_training=told,
        size=_signature_size(loaded) or size,
        trainable=trainable,
        fixed=tuple(each for key, each in every.items() if key not in chosen),
        losses=tuple(getattr(loaded, "regularization_losses", None) or ()),
        module=loaded,
    )


def _by_signature(loaded: Any, name: str, *, old: bool) -> Interface:
    signature = loaded.signatures[name]
    inputs = list(signature.structured_input_signature[1])
    outputs = dict(signature.structured_outputs)
    output = "default" if "default" in outputs else next(iter(outputs), "")
    if len(inputs) != 1 or (output != "default" and len(outputs) != 1):
        raise HeadstartError(
            f"The signature `{name}` of this module takes {', '.join(inputs)} and gives "
            f"{', '.join(outputs)}; one batch of images to one array of features is needed."
        )
    size = takes([signature])
    check_resources([signature], signature.variables)
    kind = "older hub format" if old else f"SavedModel with the signature `{name}` alone"
    return Interface(
        kind=f"{kind}: features only",
        function=lambda images: signature(**{inputs[0]: images})[output],
        takes_training=False,
        size=size,
        trainable=(),
        fixed=tuple(signature.variables),
        losses=(),
        module=loaded,
    )


def _variables(traces: Sequence[Any]) -> tuple[Any, ...]:
    """What the traces of a function use, each once, in order."""
    found = {id(variable): variable for trace in traces for variable in trace.variables}
    return tuple(sorted(found.values(), key=lambda variable: str(variable.name)))


def _signature_size(loaded: Any) -> int | None:
    """The side that a signature beside the function asks for, if there is one of images."""
    name = next((name for name in _SIGNATURES if name in loaded.signatures), None)
    try:
        return takes([loaded.signatures[name]]) if name else None
    except HeadstartError:  # It is of something else, and not what is called.
        return None


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
