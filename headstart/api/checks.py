"""A section of parameters from the arguments of an estimator, with our errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from pydantic import ValidationError

from headstart._utils.errors import ParameterError
from headstart._utils.tables import counted
from headstart.stage.sections import Section

Kind = TypeVar("Kind", bound=Section)


class ArgumentError(ParameterError, ValueError):
    """An argument of an estimator is mistyped or out of range."""


def section(
    kind: type[Kind], owner: str, values: Mapping[str, Any], names: Mapping[str, str] | None = None
) -> Kind:
    """Return a section of parameters, after a check as strict as that of params.yaml.

    NumPy's scalars and tuples count as Python's numbers and lists: a search over parameters
    passes them.

    Parameters
    ----------
    kind : type
        The section's class.
    owner : str
        Name of the estimator, for the message.
    values : mapping of str to object
    names : mapping of str to str, optional
        Fields of the section that the estimator has another name for.

    Raises
    ------
    ArgumentError
        With one line for every fault.
    """
    try:
        return kind(**{name: _plain(value) for name, value in values.items()})
    except ValidationError as error:
        lines = {f"  - {_sentence(fault, names or {})}" for fault in error.errors()}
        raise ArgumentError(
            f"{owner} got {counted(len(lines), 'invalid argument')}. Nothing was computed.\n"
            + "\n".join(sorted(lines))
        ) from None


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    return [_plain(each) for each in value] if isinstance(value, tuple | list) else value


def _sentence(fault: Any, names: Mapping[str, str]) -> str:
    first, *rest = (str(part) for part in fault["loc"])
    name = ".".join([names.get(first, first), *rest])
    if fault["type"] == "value_error":
        sentence: str = fault["ctx"]["error"].sentence(name, repr(fault["input"]))
        return sentence
    expected = fault["msg"].removeprefix("Input should be ")
    return f"The `{name}` parameter must be {expected}. Got {fault['input']!r} instead."
