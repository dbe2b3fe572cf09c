"""What a module must be before it is a backbone: images in, variables inside, no reach for
files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from headstart._utils.errors import HeadstartError
from headstart.backbones.hub_handles import GRAPH
from headstart.keras.runtime import tf

# A network needs none of these: they reach files, other machines, the terminal or the interpreter.
# What reads and writes every checkpoint (SaveV2, RestoreV2, …) is not among them.
_FORBIDDEN = re.compile(
    r"(Eager)?PyFunc(Stateless)?|Print(V2)?|ReadFile|WriteFile|MatchingFiles|\w+Reader(V2)?"
    r"|\w+Dataset(V\d)?|\w*DatasetTo\w+|CreateSummary\w+"
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
        saved = saved_model_pb2.SavedModel.FromString((folder / GRAPH).read_bytes())
    except (DecodeError, OSError) as error:
        raise HeadstartError(f"{GRAPH} of this module cannot be read: {error}.") from error
    found = {
        node.op
        for graph in saved.meta_graphs
        for nodes in (
            graph.graph_def.node,
            *(function.node_def for function in graph.graph_def.library.function),
        )
        for node in nodes
    }
    if bad := sorted(name for name in found if _FORBIDDEN.fullmatch(name)):
        raise HeadstartError(
            f"This module was not loaded: its graph holds {', '.join(bad)}, which reach files of "
            "this machine or run Python. A feature vector needs none of it; do not trust it."
        )


def takes(traces: Sequence[Any]) -> int | None:
    """The side of the square images that a function asks for; None: it says none.

    Parameters
    ----------
    traces : sequence of tf.types.experimental.ConcreteFunction

    Raises
    ------
    HeadstartError
        If no trace takes any number of square images, float32 with three channels.
    """
    given = [spec for trace in traces if (spec := _first(trace)) is not None]
    fitting = [spec for spec in given if _fits(spec)]
    if given and not fitting:
        raise HeadstartError(
            f"This module takes {given[0].dtype.name} of shape {given[0].shape}, and any number of "
            "square images, float32 of shape (None, side, side, 3), is needed."
        )
    sides = (spec.shape[1] for spec in fitting if spec.shape.rank is not None)
    return next((int(side) for side in sides if side is not None), None)


def check_resources(traces: Iterable[Any], variables: Iterable[Any]) -> None:
    """Refuse what is neither a number nor computed: Keras would not carry it into an export.

    Raises
    ------
    HeadstartError
        With what there is: a lookup table, or a text.
    """
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
            "base is made of numbers alone. Take one with 'feature-vector' in its name."
        )


def argument(function: Any, trace: Any, name: str) -> Any:
    """What a trace of a function was made with for an argument; None if it has no such one."""
    names = [each for each in function.function_spec.fullargspec.args if each != "self"]
    given, named = trace.structured_input_signature
    return {**dict(zip(names, given, strict=False)), **named}.get(name)


def why(error: BaseException) -> str:
    """The innermost cause in a line: Keras wraps advice and escape codes around it."""
    inner: BaseException | None = error
    while inner is not None:
        error = inner if str(inner) else error  # a StopIteration below says nothing
        inner = inner.__cause__ or inner.__context__
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    return " ".join(text.split())[:400] or type(error).__name__


def _first(trace: Any) -> Any:
    """The specification of the first tensor that a trace takes."""
    given, named = trace.structured_input_signature
    return next((x for x in (*given, *named.values()) if isinstance(x, tf.TensorSpec)), None)


def _fits(spec: Any) -> bool:
    if spec.dtype != tf.float32:
        return False
    if spec.shape.rank is None:
        return True
    if spec.shape.rank != 4:
        return False
    count, height, width, channels = spec.shape
    return count is None and channels in {None, 3} and (height == width or None in {height, width})
