from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from headstart._utils.errors import ParameterError
from headstart.backbones.layers import Node, known_layers
from headstart.stage.parameters import read_params
from headstart.training.parameters import FineTuneParams
from headstart.training.unfreezing import (
    Cut,
    block_of,
    blocks,
    choose,
    unfrozen,
    valid_cuts,
)
from tests.conftest import ROOT

# a ─ b ─ c ─ d(+b) ─ e: a residual block around c.
RESIDUAL = [
    Node("a", ()),
    Node("b", ("a",)),
    Node("c", ("b",)),
    Node("d", ("c", "b")),
    Node("e", ("d",)),
]


def test_a_cut_is_never_inside_a_shortcut() -> None:
    assert [RESIDUAL[cut].name for cut in valid_cuts(RESIDUAL)] == ["a", "b", "d"]


@given(st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=3), min_size=1, max_size=12))
@settings(max_examples=200, deadline=None)
def test_cuts_are_what_every_path_passes(back: list[list[int]]) -> None:
    # Layer n reads some of the six before it; the one right before always, so that all count.
    nodes = [Node("0", ())]
    for number, steps in enumerate(back, start=1):
        parents = {number - 1, *(max(0, number - step) for step in steps)}
        nodes.append(Node(str(number), tuple(str(parent) for parent in sorted(parents))))
    last = len(nodes) - 1

    def reaches_the_end_without(gone: int) -> bool:
        seen, waiting = set(), [last]
        while waiting:
            here = waiting.pop()
            if here == gone or here in seen:
                continue
            seen.add(here)
            waiting += [int(parent) for parent in nodes[here].parents]
        return 0 in seen

    expected = [0, *(n for n in range(1, last) if not reaches_the_end_without(n))]
    assert valid_cuts(nodes) == expected


def test_what_was_asked_for_learns_and_the_cut_moves_down() -> None:
    assert choose(RESIDUAL, "layer", "e") == Cut("d", "e", 0)
    assert choose(RESIDUAL, "layer", "d") == Cut("b", "d", 1)
    assert choose(RESIDUAL, "index", 2) == Cut("b", "c", 0)
    assert choose(RESIDUAL, "count", 1) == Cut("d", "e", 0)
    assert choose(RESIDUAL, "count", 5) == Cut(None, "b", 0)
    assert choose(RESIDUAL, "index", 0) == Cut(None, "b", 0)


def test_a_single_layer_by_name_or_index() -> None:
    assert choose(RESIDUAL, "only", "c") == Cut("b", "c", 0, alone=True)
    assert choose(RESIDUAL, "only", 2) == Cut("b", "c", 0, alone=True)
    assert choose(RESIDUAL, "only", "d") == Cut("b", "d", 1, alone=True)
    assert choose(RESIDUAL, "only", 1) == Cut(None, "b", 0, alone=True)


def test_what_learns_is_the_layer_alone_or_all_from_it() -> None:
    names = [node.name for node in RESIDUAL]
    assert unfrozen(names, "c", alone=True) == ["c"]
    assert unfrozen(names, "c", alone=False) == ["c", "d", "e"]


# Two convolutions, each with batch normalization and an activation.
CHAIN = [
    Node("input", (), learns=False),
    Node("conv_1", ("input",)),
    Node("bn_1", ("conv_1",), normalizes=True),
    Node("relu_1", ("bn_1",), learns=False),
    Node("conv_2", ("relu_1",)),
    Node("bn_2", ("conv_2",), normalizes=True),
    Node("relu_2", ("bn_2",), learns=False),
]


@pytest.mark.parametrize(
    ("what", "batch_norm", "expected"),
    [
        ("relu_1", "inference", r"Got 'relu_1'.*nothing to learn.*: conv_1 \(1\), conv_2 \(4\)\."),
        ("relu_1", "train", r"conv_1 \(1\), bn_1 \(2\), conv_2 \(4\)\."),
        (6, "train", r"Got 6 instead: relu_2 has nothing.*bn_1 \(2\), conv_2 \(4\), bn_2 \(5\)\."),
        (0, "inference", "Got 0 instead: input has nothing to learn"),
        ("bn_2", "inference", "bn_2 is batch normalization, .*`batch_norm: inference`"),
    ],
)
def test_a_single_layer_that_cannot_learn_is_refused_with_its_neighbors(
    what: str | int, batch_norm: Any, expected: str
) -> None:
    with pytest.raises(ParameterError, match=f"{expected}.*Nothing was trained"):
        choose(CHAIN, "only", what, batch_norm)


def test_batch_normalization_alone_learns_where_it_may() -> None:
    assert choose(CHAIN, "only", "bn_2", "train") == Cut("conv_2", "bn_2", 0, alone=True)


def test_a_backbone_without_anything_to_learn_is_reported() -> None:
    with pytest.raises(ParameterError, match="with their index: none"):
        choose([CHAIN[0], Node("module", ("input",), learns=False)], "only", "module")


@pytest.mark.parametrize(
    ("by", "what", "expected"),
    [
        ("layer", "dd", "a layer of the backbone. Got 'dd' instead. Did you mean `d`"),
        ("only", "dd", "a layer of the backbone. Got 'dd' instead. Did you mean `d`"),
        ("index", 5, "at most 4"),
        ("only", 5, "at most 4 with `unfreeze_by: only`"),
        ("count", 6, "at most 5"),
        ("block", 1, "no blocks are recognized"),
    ],
)
def test_what_is_not_there_is_refused(by: Any, what: str | int, expected: str) -> None:
    with pytest.raises(ParameterError, match=expected):
        choose(RESIDUAL, by, what)


@pytest.mark.parametrize(
    ("by", "what"),
    [
        ("layer", 3), ("index", "x"), ("index", -1), ("count", 0), ("block", "x"), ("only", -1),
        ("only", ""),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_is_refused(by: Any, what: str | int) -> None:
    values = read_params(ROOT / "params.yaml").fine_tune.model_dump()
    with pytest.raises(ValidationError, match=f"unfreeze_by: {by}"):
        FineTuneParams.model_validate({**values, "unfreeze_by": by, "unfreeze": what})


@pytest.mark.parametrize(
    ("layer", "block"),
    [
        ("block_14_expand_BN", "block_14"),
        ("expanded_conv_depthwise", "expanded_conv"),
        ("conv5_block2_3_conv", "conv5_block2"),
        ("block5_conv3", "block5"),
        ("block7a_se_reduce", "block7a"),
        ("block14_sepconv2_act", "block14"),
        ("block8_10_conv", "block8_10"),
        ("conv_dw_13_bn", "conv_13"),
        ("conv_pw_13", "conv_13"),
        ("convnext_tiny_stage_3_block_2_gelu", "stage_3_block_2"),
        ("Conv_1_bn", None),
        ("bn_Conv1", None),
        ("mixed9_0", None),
    ],
)
def test_blocks_are_recognized_by_names(layer: str, block: str | None) -> None:
    assert block_of(layer) == block


def test_inception_blocks_end_at_their_join() -> None:
    names = ["input", "conv2d", "mixed0", "conv2d_1", "mixed1", "conv2d_2", "mixed1_0", "mixed2"]
    chain = [Node(name, (names[at - 1],) if at else ()) for at, name in enumerate(names)]
    assert blocks(chain) == {"mixed0": 0, "mixed1": 3, "mixed2": 5}
    assert choose(chain, "block", 1) == Cut("mixed1", "conv2d_2", 0)


def test_a_block_of_nasnet_is_a_cell_though_no_cut_lies_between_two() -> None:
    nodes = known_layers("nasnet_mobile")
    assert len(blocks(nodes)) == 16
    assert choose(nodes, "block", 1) == Cut("stem_bn1", "activation_175", 720)
    assert choose(nodes, "block", 2).unfrozen_from == "activation_163"
