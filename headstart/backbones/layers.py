"""The layers of the table's backbones, known without TensorFlow: a wrong name is found early.

``layers.txt`` is written from Keras by ``python -m tools.layers``. It holds one line per backbone,
with its layers in Keras' order; they depend on neither the width nor the size of the images. After
the name of a layer, ``*`` marks weights that training can change, ``~`` batch normalization (whose
weights can, too), and ``<`` the layers that it reads, counted backward; where that is missing, it
reads the one before.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from headstart._utils.errors import UnfitError

TABLE = Path(__file__).with_name("layers.txt")
_LAYER = re.compile(r"(\w+)([*~]?)(?:(<)([\d,]*))?")


@dataclass(frozen=True)
class Node:
    """A layer of the backbone and the layers that it reads.

    Attributes
    ----------
    learns : bool
        True if it holds weights that training can change.
    normalizes : bool
        True if it is batch normalization, which learns only where ``batch_norm`` says ``train``.
    """

    name: str
    parents: tuple[str, ...]
    learns: bool = True
    normalizes: bool = False


def layers_text(backbones: Mapping[str, Sequence[Node]]) -> str:
    """Return the table of these backbones' layers as text."""
    return "".join(f"{name}: {_line(nodes)}\n" for name, nodes in sorted(backbones.items()))


def _line(nodes: Sequence[Node]) -> str:
    place = {node.name: number for number, node in enumerate(nodes)}
    words = []
    for number, node in enumerate(nodes):
        back = [number - place[parent] for parent in node.parents]
        reads = "" if back == [1] else f"<{','.join(map(str, back))}"
        mark = "~" if node.normalizes else "*" if node.learns else ""
        words.append(f"{node.name}{mark}{reads}")
    return " ".join(words)


@cache
def known_layers(backbone: str) -> tuple[Node, ...]:
    """Return the layers of a backbone, uncut, from its input to its last one.

    Empty for a module of TensorFlow Hub: its layers are known when it has been loaded.
    """
    for line in TABLE.read_text(encoding="ascii").splitlines():
        name, _, words = line.partition(": ")
        if name == backbone:
            return tuple(_nodes(words))
    return ()


def _nodes(words: str) -> Iterable[Node]:
    names: list[str] = []
    for name, mark, separator, reads in _LAYER.findall(words):
        back = [int(steps) for steps in reads.split(",") if steps] if separator else [1]
        parents = tuple(names[-steps] for steps in back)
        yield Node(name, parents, learns=mark != "", normalizes=mark == "~")
        names.append(name)


def up_to(nodes: Sequence[Node], cut: str | None) -> list[Node]:
    """Return the layers that the output of one needs, in their order; None: all of them."""
    if cut is None:
        return list(nodes)
    needed = {cut}
    for node in reversed(nodes):
        if node.name in needed:
            needed.update(node.parents)
    return [node for node in nodes if node.name in needed]


def near_layers(layer: str, names: Sequence[str]) -> str:
    """Return the names of a backbone's layers that are nearest to an unknown one, and its ends."""
    near = difflib.get_close_matches(layer, names, n=3, cutoff=0.4)
    hint = f"Did you mean {' or '.join(f'`{name}`' for name in near)}? " if near else ""
    return f"{hint}It has {len(names)} layers, from {names[0]} to {names[-1]}."


def fit_cut(backbone: str, cut: str) -> None:
    """Refuse a cut at a layer that the backbone does not have.

    Raises
    ------
    UnfitError
        With the nearest names.
    """
    names = [node.name for node in known_layers(backbone)]
    if names and cut not in names:
        raise UnfitError(f"a layer of {backbone} or null", near_layers(cut, names))
