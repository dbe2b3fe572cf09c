"""Backbones as words of a command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart._utils.errors import ParameterError
from headstart.backbones.registry import BACKBONES
from headstart.selection.candidates import Candidate, candidates
from headstart.stage.parameters import read_params
from tests.conftest import ROOT

CURRENT = read_params(ROOT / "params.yaml").backbone


def one(word: str) -> Candidate:
    (found,) = candidates([word], CURRENT)
    return found


def test_a_name_alone_has_the_values_that_it_was_published_with() -> None:
    params = one("inception_v3").params
    assert (params.image_size, params.alpha, params.weights) == (299, 1.0, "imagenet")
    assert (params.cut, params.pooling, params.hub) == (None, "avg", None)
    assert one("headstart-small").params.weights == "shipped"


def test_options_are_keys_of_the_section() -> None:
    params = one("mobilenet_v2@alpha=0.35,image_size=96,cut=block_12_add,weights=random").params
    assert (params.alpha, params.image_size, params.cut) == (0.35, 96, "block_12_add")
    assert params.weights == "random"
    assert one("mobilenet@alpha=1").params.alpha == 1.0


def test_the_bits_of_gray_are_those_of_the_images() -> None:
    given_bits = CURRENT.model_copy(update={"gray16_bits": 12})
    words = ["current", "mobilenet", "mobilenet_v2@gray16_bits=null"]
    found = candidates(words, given_bits)
    assert [each.params.gray16_bits for each in found] == [12, 12, None]


def test_the_same_backbone_is_compared_once() -> None:
    words = ["mobilenet_v2", "mobilenet_v2@alpha=1.0", "mobilenet_v2@image_size=224"]
    assert [each.word for each in candidates(words, CURRENT)] == ["mobilenet_v2"]


def test_labels_name_what_differs_from_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "mine,too.h5"
    file.write_bytes(b"weights")
    label = one(f"mobilenet@image_size=128,weights={file}").label
    assert label == "mobilenet@image_size=128,weights=mine,too.h5"
    assert one("mobilenet@alpha=1.0").label == "mobilenet"
    assert one("mobilenet@weights=random").label == "mobilenet@weights=random"
    assert one(f"mobilenet@weights={file}").params.weights_sha256 is not None


def test_licenses() -> None:
    assert one("mobilenet").license == "Apache-2.0"
    assert one("mobilenet@weights=random").license == "none needed"


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("mobilenet-v2x", "Did you mean `mobilenet_v2`"),
        ("mobilenet@aplha=0.5", "Did you mean `alpha`?"),
        ("mobilenet@0.5", "NAME@KEY=VALUE"),
        ("mobilenet@", "NAME@KEY=VALUE"),
        ("mobilenet@alpha=0.3", "must be one of 0.25, 0.5, 0.75, 1"),
        ("mobilenet@image_size=big", "Got 'big' instead"),
        ("mobilenet@pooling=none", "`mobilenet@pooling=avg`"),
        ("mobilenet@weights=/nowhere/w.h5", "There is no file /nowhere/w.h5"),
        ("hub", "the handle of a module"),
        ("", "at least 1 character"),
    ],
)
def test_wrong_words_are_refused_with_the_remedy(word: str, says: str) -> None:
    with pytest.raises(ParameterError, match=re.escape(says)):
        one(word)


@given(st.sampled_from(sorted(BACKBONES)), st.integers(96, 512), st.sampled_from(["avg", "max"]))
def test_labels_are_words_that_mean_the_same(name: str, size: int, pooling: str) -> None:
    found = one(f"{name}@image_size={size},pooling={pooling}")
    assert one(found.label).params == found.params
