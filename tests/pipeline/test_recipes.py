"""Recipes change values and nothing else."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from headstart._utils.errors import ParameterError
from headstart.pipeline import recipes
from headstart.stage.parameters import read_params
from tests.conftest import ROOT

RECIPES = ROOT / "recipes"
TEXT = (ROOT / "params.yaml").read_text()


@pytest.fixture
def params(tmp_path: Path) -> Path:
    target = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", target)
    return target


def test_the_default_leads_back_to_what_params_yaml_comes_with(params: Path) -> None:
    for name in ("cats-vs-dogs-resnet101v2-finetune", "hub-feature-vector", "default"):
        recipes.apply(params, [recipes.load(recipes.read_text(RECIPES, name))])
    # Line by line, comments in their places; a number may be spelled as 1e-05.
    assert params.read_text().replace("1e-05", "0.00001") == TEXT


@pytest.mark.parametrize("name", recipes.names(RECIPES))
def test_every_recipe_gives_a_valid_file_with_all_comments(name: str, params: Path) -> None:
    text = recipes.read_text(RECIPES, name)
    recipes.apply(params, [recipes.load(text)])
    read_params(params)
    comments = [line for line in TEXT.splitlines() if line.strip().startswith("#")]
    after = params.read_text().splitlines()
    assert [line for line in after if line.strip().startswith("#")] == comments


@pytest.mark.parametrize("name", recipes.names(RECIPES))
def test_every_recipe_says_its_command_and_what_was_measured(name: str) -> None:
    top = recipes.header(recipes.read_text(RECIPES, name))
    assert f"headstart recipe {name}" in top
    assert "Measured:" in top
    assert "MEASURED" not in top


def test_laying_nothing_over_the_shipped_file_changes_no_byte() -> None:
    assert recipes.overlay(TEXT, {}) == TEXT


def test_assignments_win_over_the_recipe(params: Path) -> None:
    values = recipes.parse_assignments(["split.test=0.2", "sample.train_per_class=null"])
    recipes.apply(params, [{"split": {"test": 0.3}}, values])
    assert read_params(params).split.test == 0.2
    assert read_params(params).sample.train_per_class is None


def test_a_wrong_value_leaves_the_file_as_it_was(params: Path) -> None:
    with pytest.raises(ParameterError, match=r"`split.test` parameter must be a number"):
        recipes.apply(params, [{"split": {"test": "most"}}])
    assert params.read_text() == TEXT
    assert [path.name for path in params.parent.iterdir() if path.is_file()] == ["params.yaml"]


def test_the_nearest_name_is_offered() -> None:
    with pytest.raises(ParameterError, match=r"Did you mean `cats-dogs`\?"):
        recipes.read_text(RECIPES, "cat-dogs")


@pytest.mark.parametrize("name", recipes.names(RECIPES))
def test_every_recipe_replaces_weights_of_ones_own(
    name: str, params: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(params.parent)
    (params.parent / "own.h5").write_bytes(b"weights")
    own = {"backbone": {"weights": "own.h5", "weights_sha256": "0" * 64}}
    recipes.apply(params, [own])
    recipes.apply(params, [recipes.load(recipes.read_text(RECIPES, name))])
    assert read_params(params).backbone.weights_sha256 is None


@pytest.mark.parametrize(
    ("entry", "instead"),
    [
        ("train_head.hidden=[64", "--set 'train_head.hidden=[1, 2]'"),
        ("download.location=@photos", """--set 'download.location="@photos"'"""),
        ("download.location=2020-99-99", """--set 'download.location="2020-99-99"'"""),
    ],
)
def test_the_error_about_a_value_that_is_not_yaml_shows_the_right_spelling(
    entry: str, instead: str
) -> None:
    with pytest.raises(ParameterError, match="is not valid YAML") as caught:
        recipes.parse_assignments([entry])
    assert instead in str(caught.value)


@pytest.mark.parametrize(
    "entries",
    [
        ["download=1", "download.location=x"],
        ["download.location=x", "download=1"],
        ["download.location=x", "download=null"],
        ["download.location.folder=x", "download.location=x"],
        ["download.location=x", "download.location.folder=x"],
    ],
)
def test_a_value_and_a_part_of_it_cannot_both_be_set(entries: list[str]) -> None:
    with pytest.raises(ParameterError, match="Keep one of the two"):
        recipes.parse_assignments(entries)


def test_a_section_may_be_set_at_once_and_its_keys_in_addition() -> None:
    entries = ["split={validation: 0.2}", "split.test=0.3", "split={predefined: keep}"]
    expected = {"split": {"validation": 0.2, "test": 0.3, "predefined": "keep"}}
    assert recipes.parse_assignments(entries) == expected
    assert recipes.parse_assignments(["seed=1", "seed=2"]) == {"seed": 2}


def test_an_assignment_needs_an_equals_sign() -> None:
    with pytest.raises(ParameterError, match=r"section\.key=value"):
        recipes.parse_assignments(["split.test"])


def test_an_overlay_changes_no_other_file_that_ruamel_writes() -> None:
    text = "pinned:\nother: 1\n"
    assert "null" in recipes.overlay(text, {"pinned": None})
    target = io.StringIO()
    YAML().dump(YAML().load(text), target)
    assert target.getvalue() == text  # DVC writes dvc.lock this way
