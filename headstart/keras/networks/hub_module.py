"""A TensorFlow Hub module, loaded and checked: images in, variables inside, features out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from headstart._utils.errors import HeadstartError, chain
from headstart.backbones.parameters import MODULE_GRAPH
from headstart.keras.networks.hub_files import load_module
from headstart.keras.runtime import tf

# No network needs these: they reach files, other machines, the terminal or the interpreter.
# The operations that read and write every checkpoint (SaveV2, RestoreV2, …) are not among them.
_FORBIDDEN = re.compile(
    r"(Eager)?PyFunc(Stateless)?|Print(V2)?|ReadFile|WriteFile|MatchingFiles|\w+Reader(V2)?"
    r"|\w+Dataset(V\d)?|\w*DatasetTo\w+|CreateSummary\w+"
)
#: Distinguishes the older format (``hub.Module`` of TensorFlow 1) from SavedModels.
_OLD_FORMAT = "tfhub_module.pb"
_SIGNATURES = ("default", "serving_default")


@dataclass(frozen=True)
class Interface:
    """The interface of a loaded module.

    Attributes
    ----------
    kind : str
        Its format, for people.
    function : callable
        From images, float32 (n, size, size, 3) of 0 to 1, to features.
    takes_training : bool
        True if the function has an argument ``training`` that makes a difference.
    size : int or None
        Side of the images that it expects; None if it takes any.
    trainable, fixed : tuple of tf.Variable
        Variables that can and cannot be trained.
    losses : tuple of callable
        Regularization, each without arguments.
    module : object
        The loaded object: TensorFlow deletes what the function needs once nobody holds it.
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
        If TensorFlow cannot load it, it reaches for files or Python, or it has no function from
        any number of images to features.
    """
    check_operations(folder)
    old = (folder / _OLD_FORMAT).is_file()
    try:
        loaded = load_module(folder)
    except Exception as error:  # TensorFlow raises many types, depending on the fault
        raise HeadstartError(f"TensorFlow cannot load this module: {why(error)}") from error
    if callable(loaded) and not old:
        return _callable(loaded)
    for name in _SIGNATURES:
        if name in loaded.signatures:
            return _by_signature(loaded, name, old=old)
    raise HeadstartError(
        "This module can neither be called nor has it a signature `default` or `serving_default`; "
        f"its signatures: {', '.join(loaded.signatures) or 'none'}. A feature vector of images is "
        "needed ('feature-vector' in its name on TensorFlow Hub)."
    )


def check_operations(folder: Path) -> None:
    """Refuse a graph that reads or writes files, prints, or calls Python.

    Raises
    ------
    HeadstartError
        With the operations; or if the graph cannot be read.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        saved = saved_model_pb2.SavedModel.FromString((folder / MODULE_GRAPH).read_bytes())
    except (DecodeError, OSError) as error:
        raise HeadstartError(f"{MODULE_GRAPH} of this module cannot be read: {error}.") from error
    operations = {
        node.op
        for graph in saved.meta_graphs
        for nodes in (
            graph.graph_def.node,
            *(function.node_def for function in graph.graph_def.library.function),
        )
        for node in nodes
    }
    if bad := sorted(name for name in operations if _FORBIDDEN.fullmatch(name)):
        raise HeadstartError(
            f"This module was not loaded: its graph holds {', '.join(bad)}, which can reach files "
            "of this machine or run Python. A feature vector needs none of them; do not trust it."
        )


def why(error: BaseException) -> str:
    """Return the innermost cause in one line: Keras wraps advice and escape codes around it."""
    for inner in chain(error):
        error = inner if str(inner) else error  # a StopIteration below has no text
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    return " ".join(text.split())[:400] or type(error).__name__


def _callable(loaded: Any) -> Interface:
    function = loaded.__call__
    traces = function.concrete_functions
    size = _image_side(traces)
    used = _variables(traces)
    _check_resources(traces, used)
    learning = getattr(loaded, "trainable_variables", None)
    if learning is None:
        learning = [variable for variable in used if variable.trainable]
    trainable = tuple(variable for variable in learning if variable.dtype.is_floating)
    every = {id(each): each for each in (*(getattr(loaded, "variables", None) or ()), *used)}
    chosen = {id(variable) for variable in trainable}
    modes = [_argument(function, trace, "training") for trace in traces]
    takes_training = any(mode is True or isinstance(mode, tf.TensorSpec) for mode in modes)
    if not takes_training and False in modes:  # traced with that one value only
        function = partial(function, training=False)
    return Interface(
        kind="SavedModel of TensorFlow 2",
        function=function,
        takes_training=takes_training,
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
            f"The signature `{name}` of this module takes {', '.join(inputs)} and returns "
            f"{', '.join(outputs)}; one batch of images to one array of features is needed."
        )
    size = _image_side([signature])
    _check_resources([signature], signature.variables)
    kind = "older hub format" if old else f"SavedModel with only the signature `{name}`"
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


def _signature_size(loaded: Any) -> int | None:
    """Return the side that a signature beside the function expects, if there is one of images."""
    name = next((name for name in _SIGNATURES if name in loaded.signatures), None)
    try:
        return _image_side([loaded.signatures[name]]) if name else None
    except HeadstartError:  # It takes something else, and is not what is called.
        return None


def _image_side(traces: Sequence[Any]) -> int | None:
    """Return the side of the square images that a function expects; None if it takes any.

    Parameters
    ----------
    traces : sequence of tf.types.experimental.ConcreteFunction

    Raises
    ------
    HeadstartError
        If no trace takes any number of square images, float32 with three channels.
    """
    given = [spec for trace in traces if (spec := _first_tensor(trace)) is not None]
    fitting = [spec for spec in given if _takes_images(spec)]
    if given and not fitting:
        raise HeadstartError(
            f"This module takes {given[0].dtype.name} of shape {given[0].shape}; any number of "
            "square images, float32 of shape (None, side, side, 3), is needed."
        )
    sides = (spec.shape[1] for spec in fitting if spec.shape.rank is not None)
    return next((int(side) for side in sides if side is not None), None)


def _first_tensor(trace: Any) -> Any:
    given, named = trace.structured_input_signature
    return next((x for x in (*given, *named.values()) if isinstance(x, tf.TensorSpec)), None)


def _takes_images(spec: Any) -> bool:
    if spec.dtype != tf.float32:
        return False
    if spec.shape.rank is None:
        return True
    if spec.shape.rank != 4:
        return False
    count, height, width, channels = spec.shape
    return count is None and channels in {None, 3} and (height == width or None in {height, width})


def _argument(function: Any, trace: Any, name: str) -> Any:
    """Return the value of an argument that a function was traced with; None if it has none."""
    names = [each for each in function.function_spec.fullargspec.args if each != "self"]
    given, named = trace.structured_input_signature
    return {**dict(zip(names, given, strict=False)), **named}.get(name)


def _variables(traces: Sequence[Any]) -> tuple[Any, ...]:
    """Return the variables that the traces of a function use, each once, sorted by name."""
    found = {id(variable): variable for trace in traces for variable in trace.variables}
    return tuple(sorted(found.values(), key=lambda variable: str(variable.name)))


def _check_resources(traces: Iterable[Any], variables: Iterable[Any]) -> None:
    """Refuse lookup tables and texts: Keras would not carry them into an export."""
    known = {id(variable.handle) for variable in variables}
    tables = any(
        captured.dtype == tf.resource and id(captured) not in known
        for trace in traces
        for captured in trace.captured_inputs
    )
    texts = [variable.name for variable in variables if variable.dtype == tf.string]
    if tables or texts:
        raise HeadstartError(
            f"This module holds {f'the text {texts[0]}' if texts else 'a lookup table'}, and a "
            "backbone consists of numbers only. Use one with 'feature-vector' in its name."
        )
