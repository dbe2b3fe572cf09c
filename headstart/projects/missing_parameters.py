"""Add the parameters that a newer version has to a params.yaml that a user has edited."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def with_missing(old: str, new: str) -> str:
    """Return ``old`` with the parameters of ``new`` that it lacks, with their comments.

    Every line of ``old`` stays as it is. If that cannot be done, as with a section in braces, it is
    returned unchanged.

    Parameters
    ----------
    old, new : str
        YAML: the user's params.yaml, and that of the installed version.
    """
    from ruamel.yaml.error import YAMLError

    try:
        ours, theirs = _parsed(old), _parsed(new)
        lines, added = (
            old.splitlines(),
            list(_added(old.splitlines(), ours, new.splitlines(), theirs)),
        )
        for place, block in reversed(added):  # from below, so that the places above stay
            lines[place:place] = block
        text = "\n".join(lines) + "\n"
        return text if _parsed(text) == _joined(ours, theirs) else old
    except (YAMLError, AttributeError, TypeError, ValueError):
        return old


def _parsed(text: str) -> Any:
    from ruamel.yaml import YAML

    return YAML(typ="rt").load(text)


def _joined(ours: Any, theirs: Any) -> Any:
    """Return all values of ``ours``, and those of ``theirs`` that it lacks."""
    if not isinstance(ours, Mapping) or not isinstance(theirs, Mapping):
        return ours
    lacking = {key: value for key, value in theirs.items() if key not in ours}
    return {**{key: _joined(value, theirs.get(key)) for key, value in ours.items()}, **lacking}


def _added(
    lines: list[str], ours: Any, new: list[str], theirs: Any, stop: int = 0, new_stop: int = 0
) -> Iterator[tuple[int, list[str]]]:
    """Yield blocks of new lines, and the lines of the old text before which they belong, in order.

    Parameters
    ----------
    stop, new_stop : int
        The line after the sections; 0: the end.
    """
    known = _blocks(lines, ours, stop or len(lines))
    wanted = _blocks(new, theirs, new_stop or len(new))
    place = min((start for start, _ in known.values()), default=0)
    found: list[tuple[int, list[str]]] = []
    for key, (start, end) in wanted.items():
        if key not in known:
            found.append((place, new[start:end]))
            continue
        if isinstance(theirs[key], Mapping) and isinstance(ours[key], Mapping):
            found += _added(lines, ours[key], new, theirs[key], known[key][1], end)
        place = known[key][1]
    yield from sorted(found, key=lambda each: each[0])


def _blocks(lines: list[str], section: Any, stop: int) -> dict[str, tuple[int, int]]:
    """Return the lines of each key, with the comments above it, of a section up to a line."""
    starts = [section.lc.key(key)[0] for key in section]
    found, begin = {}, None
    for key, start, following in zip(section, starts, [*starts[1:], stop], strict=True):
        end = following
        while end > start + 1 and _is_beside(lines[end - 1]):
            end -= 1
        found[key] = (_above(lines, start) if begin is None else begin, end)
        begin = end
    return found


def _above(lines: list[str], start: int) -> int:
    """Return the first of the comment lines directly above a line."""
    while start > 0 and lines[start - 1].lstrip().startswith("#"):
        start -= 1
    return start


def _is_beside(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")
