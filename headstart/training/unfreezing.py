"""The choice of what fine-tuning unfreezes, and of the cut between the frozen and trained parts.

The two parts meet in a single tensor: the output of one layer, through which everything above must
pass. In a residual network that is a join (``block_14_add``), never the inside of a block. Where
there is no such layer below the first trained one, the cut moves *down* to the next; the layers in
between run with the upper part and stay frozen, so exactly the requested layers learn. With a
single layer (``only``), those above it stay frozen, too.

Blocks are recognized by the names that ``keras.applications`` gives to layers, see
:func:`block_of`. A block begins right above the last valid cut below its first layer, so that a
shortcut's convolution without a block name (Xception) belongs to it as well. The layers after the
last block (MobileNetV2's ``Conv_1``) are unfrozen with it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headstart._utils.errors import ParameterError
from headstart.backbones.layers import Node, near_layers

if TYPE_CHECKING:  # The parameters use the choice: a wrong name is found when they are read.
    from headstart.training.parameters import BatchNorm, UnfreezeBy

#: Layers with something to learn that are named in place of one without.
_NEAREST = 3


@dataclass(frozen=True)
class Cut:
    """Where lower and upper part meet.

    Attributes
    ----------
    after : str or None
        Layer whose output is the cut; None if nothing lies below: the whole backbone runs above.
    unfrozen_from : str
        First layer that is trained, in the order of ``base.layers``.
    frozen_above : int
        Layers between the cut and ``unfrozen_from``: more than 0 if the cut had to move down.
    alone : bool
        True if ``unfrozen_from`` is the only layer that is trained, with frozen ones above it.
    """

    after: str | None
    unfrozen_from: str
    frozen_above: int
    alone: bool = False


def unfrozen(names: Sequence[str], first: str, *, alone: bool) -> list[str]:
    """Return the layers that are trained, of ``names`` in the order of the backbone."""
    return [first] if alone else list(names[names.index(first) :])


# InceptionResNetV2's block8_10_conv before VGG's block5_conv3, or ten blocks would count as one.
_BLOCK_STARTS = re.compile(
    r"(?:.*_)?(stage_\d+_block_\d+)_"  # ConvNeXt
    r"|(block_\d+)_"  # MobileNetV2
    r"|(conv\d+_block\d+)_"  # ResNet, DenseNet
    r"|(block\d+_\d+)_"  # InceptionResNetV2
    r"|(block\d+[a-z]?)_"  # VGG, Xception, EfficientNet
    r"|(expanded_conv(?:_\d+)?)_"  # MobileNetV3; the first block of MobileNetV2
    r"|(?:conv_(?:dw|pw|pad)_(\d+))(?:_|$)"  # MobileNet
)
# All layers since the previous one: InceptionV3, NASNet.
_BLOCK_ENDS = re.compile(r"mixed\d+|(?:normal|reduction)_concat_\w+")


def block_of(name: str) -> str | None:
    """Return the block that a layer's name belongs to: ``block_14`` of ``block_14_expand``.

    Known: ``block_N_``, ``convN_blockM_``, ``blockN_M_``, ``blockN_``, ``blockNa_``,
    ``expanded_conv_N_``, ``conv_dw_N`` and ``conv_pw_N`` (block ``conv_N``),
    ``stage_N_block_M_``. (``mixedN``, ``normal_concat_N`` and ``reduction_concat_N`` end a block;
    :func:`blocks` handles them.)
    """
    match = _BLOCK_STARTS.match(name)
    if match is None:
        return None
    found = next(group for group in match.groups() if group)
    return f"conv_{found}" if found.isdigit() else found


def blocks(nodes: Sequence[Node]) -> dict[str, int]:
    """Return each block, in order, and the position of its first layer."""
    first: dict[str, int] = {}
    start = 0
    for position, node in enumerate(nodes):
        name = block_of(node.name)
        if name is not None:
            first.setdefault(name, position)
        elif _BLOCK_ENDS.fullmatch(node.name):
            first.setdefault(node.name, start)
            start = position + 1
    return first


def valid_cuts(nodes: Sequence[Node]) -> list[int]:
    """Return the positions whose output alone separates the layers below from those above.

    Parameters
    ----------
    nodes : sequence of Node
        In an order in which every layer stands after those that it reads, all of them on a way
        from the input (first) to the output (last).

    Returns
    -------
    list of int
        Ascending. Position 0, the input, always is one; the last, with nothing above, never.
    """
    position = {node.name: number for number, node in enumerate(nodes)}
    last_reader = list(range(len(nodes)))
    for number, node in enumerate(nodes):
        for parent in node.parents:
            last_reader[position[parent]] = number
    found, reach = [], 0
    for number in range(len(nodes) - 1):
        # `reach`: the furthest reader of anything strictly below this layer.
        if reach <= number:
            found.append(number)
        reach = max(reach, last_reader[number])
    return found


def choose(
    nodes: Sequence[Node], by: UnfreezeBy, what: str | int, batch_norm: BatchNorm = "inference"
) -> Cut:
    """Return the cut for what ``fine_tune`` asks to unfreeze.

    Parameters
    ----------
    nodes : sequence of Node
        As for :func:`valid_cuts`.
    by, what
        ``unfreeze_by`` and ``unfreeze`` of params.yaml.
    batch_norm
        ``batch_norm`` of params.yaml: whether a single layer may be batch normalization.

    Raises
    ------
    ParameterError
        If there is no such layer, index, or number of layers or blocks, or if a single layer has
        nothing to learn; the message names valid ones.
    """
    names = [node.name for node in nodes]
    cuts = valid_cuts(nodes)
    if by == "block":
        starts = list(blocks(nodes).values())
        place = len(starts) - _number(by, what, len(starts), "blocks", names)
        wanted, before = starts[place], starts[place - 1] if place else 0
        # In NASNet each cell reads the last two, so that no cut lies between them.
        first = max((cut for cut in cuts if before <= cut < wanted), default=wanted - 1) + 1
    elif by == "layer" or (by == "only" and isinstance(what, str)):
        first = _position(names, what)
    elif by in {"index", "only"}:
        first = _number(by, what, len(names) - 1, "layers, counted from 0", names)
    else:
        first = len(names) - _number(by, what, len(names), "layers", names)
    if by == "only":
        _check_learns(nodes, first, what, batch_norm)
    first = max(first, 1)  # The input has nothing to train.
    cut = max(cut for cut in cuts if cut < first)
    return Cut(names[cut] if cut else None, names[first], first - cut - 1, alone=by == "only")


def _number(by: UnfreezeBy, what: str | int, most: int, things: str, names: list[str]) -> int:
    number = int(what)
    if not most:
        raise ParameterError(
            f"`fine_tune.unfreeze_by: {by}`: no {things} are recognized among the layers of this "
            f"backbone ({names[1]} … {names[-1]}). Use `unfreeze_by: layer`, `index` or `count`."
        )
    if number > most:
        raise ParameterError(
            f"The `fine_tune.unfreeze` parameter must be at most {most} with `unfreeze_by: {by}`: "
            f"this backbone has {len(names) if by != 'block' else most} {things}. "
            f"Got {number} instead."
        )
    return number


def _position(names: list[str], what: str | int) -> int:
    if what in names:
        return names.index(str(what))
    raise ParameterError(
        "The `fine_tune.unfreeze` parameter must be a layer of the backbone. "
        f"Got {what!r} instead. {near_layers(str(what), names)}"
    )


def _check_learns(
    nodes: Sequence[Node], place: int, what: str | int, batch_norm: BatchNorm
) -> None:
    """Refuse a single layer whose training would change nothing."""

    def can(node: Node) -> bool:
        return node.learns and (batch_norm == "train" or not node.normalizes)

    node = nodes[place]
    if can(node):
        return
    others = [number for number, other in enumerate(nodes) if can(other)]
    near = sorted(sorted(others, key=lambda number: abs(number - place))[:_NEAREST])
    listed = ", ".join(f"{nodes[number].name} ({number})" for number in near) or "none"
    why = (
        "is batch normalization, which stays as it is with `batch_norm: inference`"
        if node.learns
        else "has nothing to learn: it holds no weights that training changes"
    )
    raise ParameterError(
        "The `fine_tune.unfreeze` parameter must be a layer that can learn with `unfreeze_by: "
        f"only`. Got {what!r} instead: {node.name} {why}. The nearest layers that can, with their "
        f"index: {listed}. Nothing was trained."
    )
