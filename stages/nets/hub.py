"""A TensorFlow Hub module as the headless base: one layer of Keras 3 over its own variables.

``hub.KerasLayer`` belongs to Keras 2 and cannot enter a model of Keras 3, and needs a package that
nobody maintains. Of what it does, this is what a base needs: a module of TensorFlow 2 (a SavedModel
that can be called) with its variables, their regularization losses and its mode of training; or, as
features that cannot be trained, one in the older hub format or with signatures alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.core.errors import HeadstartError, ParameterError
from stages.core.hub import HUB
from stages.core.quiet import quiet_stderr
from stages.nets.tf import fresh_names, keras, tf

#: The layer's name in the base.
LAYER = "module"
#: What tells the older format (``hub.Module`` of TensorFlow 1) from SavedModels.
_OLD_FORMAT = "tfhub_module.pb"
_SIGNATURES = ("default", "serving_default")
# A network needs none of these, and they reach the files of this machine or the interpreter.
_FORBIDDEN = {
    "EagerPyFunc", "PyFunc", "PyFuncStateless", "ReadFile", "WriteFile", "MatchingFiles",
    "WholeFileReader", "WholeFileReaderV2", "PrintV2",
}  # fmt: skip


@dataclass(frozen=True)
class Interface:
    """How a loaded module is used.

    Attributes
    ----------
    kind : str
        In words, for people.
    function : callable
        From pictures, float32 (n, size, size, 3) of 0 to 1, to features.
    takes_training : bool
        Whether the function can be told that it is training.
    size : int or None
        Side of the pictures that it expects; None: it says none.
    trainable, fixed : tuple of tf.Variable
        What may learn, and what may not.
    losses : tuple of callable
        Regularization, each without arguments.
    """

    kind: str
    function: Any
    takes_training: bool
    size: int | None
    trainable: tuple[Any, ...]
    fixed: tuple[Any, ...]
    losses: tuple[Any, ...]


def load_interface(folder: Path) -> Interface:
    """Load a module's files.

    Raises
    ------
    HeadstartError
        If TensorFlow cannot load it, it reaches for files or Python, or it offers no function from
        pictures to features.
    """
    _check_operations(folder)
    old = (folder / _OLD_FORMAT).is_file()
    try:
        with quiet_stderr():
            loaded = tf.saved_model.load(str(folder), tags=[] if old else None)
    except Exception as error:  # TensorFlow raises what it likes, by what is wrong with the file
        raise HeadstartError(f"TensorFlow cannot load this module: {_line(error)}") from error
    if callable(loaded) and not old:
        return _reusable(loaded)
    for name in _SIGNATURES:
        if name in loaded.signatures:
            return _by_signature(loaded, name, old=old)
    raise HeadstartError(
        "This module can neither be called nor has it a signature `default` or `serving_default`: "
        f"{', '.join(loaded.signatures) or 'none'} is what there is. A feature vector of pictures "
        "is needed ('feature-vector' in its name on TensorFlow Hub)."
    )


def build_hub(folder: Path, image_size: int | None) -> keras.Model:
    """A module as a base.

    Parameters
    ----------
    folder : Path
        The module's files.
    image_size : int or None
        Side of the pictures; None: what the module expects.

    Returns
    -------
    keras.Model
        Pictures of 0 to 1, float32 (n, size, size, 3), to features: its one layer is
        :data:`LAYER`.

    Raises
    ------
    ParameterError
        If the module expects another size, or says none and none is given.
    HeadstartError
        If it is no module of picture features.
    """
    interface = load_interface(folder)
    size = _size(interface, image_size)
    with fresh_names():
        pictures = keras.Input((size, size, 3), name="pictures")
        try:
            features = HubLayer(interface)(pictures)
        except Exception as error:
            raise HeadstartError(
                f"This module does not take pictures of {size} × {size}: {_line(error)}"
            ) from error
        shape = getattr(features, "shape", ())
        if len(shape) not in {2, 4} or any(side is None for side in shape[1:]):
            raise HeadstartError(
                f"This module gives {shape or type(features).__name__}, and no feature vector or "
                "map of known size. Take one with 'feature-vector' in its name."
            )
        return keras.Model(pictures, features, name=HUB)


class HubLayer(keras.layers.Layer):  # type: ignore[misc]
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
            self._track_variable(known)
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Features of a batch of pictures."""
        interface = self._interface
        if not interface.takes_training:
            return interface.function(inputs)
        for loss in interface.losses if training and self.trainable else ():
            self.add_loss(loss())
        return interface.function(inputs, training=bool(training))


def _reusable(loaded: Any) -> Interface:
    function = loaded.__call__
    spec = function.function_spec.fullargspec
    used = _variables(function)
    trainable = tuple(getattr(loaded, "trainable_variables", None) or _learning(used))
    every = tuple(getattr(loaded, "variables", None) or used)
    chosen = {id(variable) for variable in trainable}
    return Interface(
        kind="SavedModel of TensorFlow 2",
        function=function,
        takes_training="training" in (*spec.args, *spec.kwonlyargs),
        size=_signature_size(loaded) or _function_size(function),
        trainable=trainable,
        fixed=tuple(each for each in every if id(each) not in chosen),
        losses=tuple(getattr(loaded, "regularization_losses", None) or ()),
    )


def _by_signature(loaded: Any, name: str, *, old: bool) -> Interface:
    signature = loaded.signatures[name]
    inputs = list(signature.structured_input_signature[1])
    outputs = dict(signature.structured_outputs)
    output = "default" if "default" in outputs else next(iter(outputs), "")
    if len(inputs) != 1 or (output != "default" and len(outputs) != 1):
        raise HeadstartError(
            f"The signature `{name}` of this module takes {', '.join(inputs)} and gives "
            f"{', '.join(outputs)}; one batch of pictures to one array of features is needed."
        )
    kind = "older hub format" if old else f"SavedModel with the signature `{name}` alone"
    return Interface(
        kind=f"{kind}: features only",
        function=lambda pictures: signature(**{inputs[0]: pictures})[output],
        takes_training=False,
        size=_signature_size(loaded),
        trainable=(),
        fixed=tuple(signature.variables),
        losses=(),
    )


def _variables(function: Any) -> tuple[Any, ...]:
    """What the traces of a function use, each once, in order."""
    found = {
        id(variable): variable
        for trace in function.concrete_functions
        for variable in trace.variables
    }
    return tuple(sorted(found.values(), key=lambda variable: str(variable.name)))


def _learning(variables: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(variable for variable in variables if variable.trainable)


def _signature_size(loaded: Any) -> int | None:
    for name in _SIGNATURES:
        if name in loaded.signatures:
            given = loaded.signatures[name].structured_input_signature[1].values()
            return next((size for spec in given if (size := _side(spec))), None)
    return None


def _function_size(function: Any) -> int | None:
    for trace in function.concrete_functions:
        given, named = trace.structured_input_signature
        for spec in (*given, *named.values()):
            if size := _side(spec):
                return size
    return None


def _side(spec: Any) -> int | None:
    """The side of the square pictures that a tensor's specification asks for."""
    shape = getattr(spec, "shape", None)
    if shape is None or shape.rank != 4 or shape[3] != 3 or shape[1] != shape[2]:
        return None
    return shape[1] if shape[1] is None else int(shape[1])


def _size(interface: Interface, asked: int | None) -> int:
    expected = interface.size
    if asked is None and expected is None:
        raise ParameterError(
            "The `backbone.image_size` parameter must be an integer: this module takes pictures "
            "of any size. Got null instead. Its page says what it was trained on, often 224."
        )
    if asked is not None and expected is not None and asked != expected:
        raise ParameterError(
            f"The `backbone.image_size` parameter must be {expected}, or null, which reads it from "
            f"the module. Got {asked} instead."
        )
    return asked or expected or 0


def _check_operations(folder: Path) -> None:
    """Refuse a graph that reads or writes files, prints, or calls Python."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    except (DecodeError, OSError) as error:
        raise HeadstartError(f"saved_model.pb of this module cannot be read: {error}.") from error
    found = {
        node.op
        for graph in saved.meta_graphs
        for nodes in (
            graph.graph_def.node,
            *(function.node_def for function in graph.graph_def.library.function),
        )
        for node in nodes
    }
    if bad := sorted(found & _FORBIDDEN):
        raise HeadstartError(
            f"This module was not loaded: its graph holds {', '.join(bad)}, which reach files of "
            "this machine or run Python. A feature vector needs none of it; do not trust it."
        )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:400] or type(error).__name__
