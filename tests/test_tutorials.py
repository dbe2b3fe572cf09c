"""The table of the tutorials' items has no gap, and everything that it names exists."""

from __future__ import annotations

import ast
import re

import pytest
from ruamel.yaml import YAML

from headstart.cli.app import app
from headstart.pipeline.recipes import names
from tests.conftest import ROOT
from tools.generate import command_paths

PAGE = (ROOT / "docs/tutorial-items.md").read_text()
GUIDE = (ROOT / "docs/tutorials.md").read_text()
#: How many numbered items each of the five tutorials has. The last one's list has no 4.4.
ITEMS = {0: 19, 1: 12, 2: 12, 3: 10, 4: 13}
EXPECTED = [
    f"{tutorial}.{item}"
    for tutorial, count in ITEMS.items()
    for item in range(1, count + 1)
    if (tutorial, item) != (4, 4)
]
ROWS = re.findall(r"^\| (\d\.\d+) \| (.+?) \| (.+?) \| (.+) \|$", PAGE, re.MULTILINE)
TESTS = sorted(set(re.findall(r"`(tests/[^`]*)::(test_\w+)`", PAGE)))
COMMANDS = sorted(set(re.findall(r"`headstart ([^`]+)`", PAGE + GUIDE)))


def test_no_item_is_left_out_or_stands_twice() -> None:
    assert [row[0] for row in ROWS] == EXPECTED


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_an_item_is_shown_by_a_command_or_a_test_or_says_what_is_missing(
    row: tuple[str, str, str, str],
) -> None:
    _, _, state, shown = row
    assert state in {"yes", "in part", "not yet"}
    named = re.findall(r"`(?:tests/[^`]*::test_\w+|headstart [^`]+|python -m [^`]+)`", shown)
    if state == "not yet":
        assert not named
        assert len(shown.split()) > 3
    else:
        assert named
    if state == "in part":  # besides what is there, a sentence about what is not
        assert re.search(r"\b(not|no|without)\b", re.sub(r"`[^`]*`", "", shown), re.IGNORECASE)


def test_the_counts_above_the_table_are_those_of_its_rows() -> None:
    states = [row[2] for row in ROWS]
    counts = ", ".join(f"{states.count(state)} {state}" for state in ("yes", "in part", "not yet"))
    assert f"Of {len(ROWS)}: {counts}." in PAGE


@pytest.mark.parametrize(("path", "name"), TESTS, ids=lambda part: part)
def test_a_test_that_is_named_exists(path: str, name: str) -> None:
    tree = ast.parse((ROOT / path).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_is_named_exists(command: str) -> None:
    words = command.split()
    known = command_paths(app)
    assert (words[0],) in known
    if len(words) > 1 and not words[1].startswith("-"):
        if words[0] == "recipe":
            assert words[1] in {*names(ROOT / "recipes"), "NAME"}
        elif any(path[0] == words[0] and len(path) > 1 for path in known):
            assert tuple(words[:2]) in known


def test_every_recipe_of_a_tutorial_has_a_page_that_the_table_links_to() -> None:
    pages = {path.stem for path in (ROOT / "docs/tutorials").glob("*.md")}
    assert pages == set(names(ROOT / "recipes")) - {"cats-dogs", "default", "my-photos"}
    for page in pages:
        assert f"](tutorials/{page}.md)" in GUIDE
        text = (ROOT / f"docs/tutorials/{page}.md").read_text()
        assert f"headstart recipe {page}" in text


def test_every_parameter_of_the_dictionary_exists() -> None:
    params = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    named = re.findall(
        r"`([a-z_]+)\.([a-z_]+)(?::[^`]*)?`", GUIDE.partition("## From a Keras call")[2]
    )
    keys = {(section, key) for section, key in named if section in params}
    assert len(keys) > 30
    for section, key in keys:
        assert key in params[section], f"{section}.{key}"
