"""Groups from pairs: members that are connected by pairs form a group."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

Member = TypeVar("Member", bound=Any)  # ordered


def united(pairs: Iterable[tuple[Member, Member]]) -> dict[Member, Member]:
    """Return for every member of a pair the smallest one that it is joined with, in order.

    Parameters
    ----------
    pairs : iterable of (member, member)
        Members are hashable and ordered.

    Examples
    --------
    >>> united([("c", "b"), ("d", "c"), ("x", "y")])
    {'b': 'b', 'c': 'b', 'd': 'b', 'x': 'x', 'y': 'x'}
    """
    parent: dict[Member, Member] = {}

    def root(member: Member) -> Member:
        while (above := parent.setdefault(member, member)) != member:
            parent[member] = parent.setdefault(above, above)
            member = above
        return member

    for one, other in pairs:
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    return {member: root(member) for member in sorted(parent)}
