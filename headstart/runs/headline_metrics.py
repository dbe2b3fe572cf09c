"""The numbers of a metrics file that a person would name, for the message of a commit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

_MOST = 30
_DEPTH = 2  # `model.accuracy`, but not a row for each class


def measured(text: str | None) -> dict[str, str]:
    """Numbers near the top of a JSON file, by dotted key; none if it is not JSON.

    Parameters
    ----------
    text : str or None
        The file; None: there is none.

    Returns
    -------
    dict of str to str
        At most 30, in the file's order.
    """
    try:
        content = json.loads(text or "")
    except ValueError:
        return {}
    return dict(list(_numbers(content, "", _DEPTH))[:_MOST])


def _numbers(value: Any, key: str, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items() if depth else ():
            yield from _numbers(inner, f"{key}.{name}" if key else name, depth - 1)
    elif isinstance(value, int | float) and not isinstance(value, bool) and key:
        yield key, f"{value:.6g}"
