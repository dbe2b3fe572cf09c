"""``labels.json``: class names in the order of a model's outputs; and names as titles show them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from headstart._utils.errors import CorruptFileError
from headstart._utils.files import read_json, write_json

_MAX_BYTES = 64 << 20


def write_labels(path: Path, classes: Sequence[str]) -> None:
    """Write class names; they must be sorted and distinct."""
    fault = _fault(list(classes))
    if fault:
        raise ValueError(fault)
    write_json(path, list(classes))


def read_labels(path: Path) -> list[str]:
    """Read class names.

    Raises
    ------
    CorruptFileError
        If the file is not a sorted list of distinct names.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CorruptFileError(f"{path} is larger than any list of class names.")
        names = read_json(path)
    except (OSError, ValueError, RecursionError) as error:
        raise CorruptFileError(f"{path} is not a list of class names: {error}.") from error
    fault = _fault(names)
    if fault:
        raise CorruptFileError(f"{path}: {fault}.")
    return list(names)


# The first letter of the name, and each one after a space, a hyphen or an opening bracket.
_INITIAL = re.compile(r"(?:^|(?<=[\s\-(\[/]))[^\W\d_]")


def with_capitals(names: Sequence[str]) -> list[str]:
    """Return class names as in a title: ``granny_smith`` as ``Granny Smith``, ``BMW`` unchanged.

    For display only: a model is trained, compared and exported under its own names. Names that
    would become equal stay as they are, so that all of them remain distinct.

    Parameters
    ----------
    names : sequence of str
        Distinct.

    Returns
    -------
    list of str
        In the same order.
    """
    titled = [_titled(name) for name in names]
    counts = Counter(titled)
    return [
        shown if counts[shown] == 1 else name for name, shown in zip(names, titled, strict=True)
    ]


def _titled(name: str) -> str:
    spaced = " ".join(name.replace("_", " ").split()) or name
    return _INITIAL.sub(lambda letter: letter.group().title(), spaced)


def _fault(names: object) -> str:
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        return "expected a list of class names that are not empty"
    if not names:
        return "the list of class names is empty"
    if names != sorted(set(names)):
        return "the class names must be sorted and distinct"
    return ""
