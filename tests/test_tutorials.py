"""The table of the tutorials' items has no gap, and everything that it names exists."""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from headstart.cli.app import app
from headstart.pipeline.recipes import names, overlay, parse_assignments
from headstart.stage.parameters import read_params
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
FIVE_MINUTES = (ROOT / "docs/from-flow-from-directory.md").read_text()
COMMANDS = sorted(set(re.findall(r"`headstart ([^`]+)`", PAGE + GUIDE + FIVE_MINUTES)))


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
        assert text.count("**Original:** ") == 1


def test_every_parameter_of_the_dictionary_exists() -> None:
    params = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    named = re.findall(
        r"`([a-z_]+)\.([a-z_]+)(?::[^`]*)?`", GUIDE.partition("## From a Keras call")[2]
    )
    keys = {(section, key) for section, key in named if section in params}
    assert len(keys) > 30
    for section, key in keys:
        assert key in params[section], f"{section}.{key}"


def blocks(page: str, language: str = "") -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [block for name, block in found if name == language]


def calls(code: str) -> set[str]:
    """The names of what some code calls; an ellipsis may shorten it, so it is not parsed."""
    return set(re.findall(r"(\w+)\(", code))


def test_the_five_minutes_set_what_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    lines = [line for block in blocks(FIVE_MINUTES) for line in block.splitlines()]
    recipe = next(line for line in lines if line.startswith("headstart recipe"))
    result = CliRunner().invoke(app, recipe.split()[1:])
    assert result.exit_code == 0, result.output
    params = read_params(tmp_path / "params.yaml")
    assert (params.download.source, params.download.location) == ("folder", "photos")
    assert (params.backbone.name, params.backbone.image_size) == ("mobilenet_v2", 160)
    assert params.backbone.weights == "imagenet"
    commands = [line for line in lines if line.startswith("headstart ")]
    assert len(commands) > 4
    for line in commands:
        words = line.split()[1:]
        assert (words[0],) in command_paths(app)
        for option in (word for word in words if word.startswith("-")):
            assert option in CliRunner().invoke(app, [words[0], "--help"]).output
    fine_tuned = re.findall(r"`headstart (recipe my-photos --set fine_tune[^`]*)`", FIVE_MINUTES)
    assert CliRunner().invoke(app, fine_tuned[0].split()).exit_code == 0


def test_every_value_of_the_five_minutes_is_accepted(tmp_path: Path) -> None:
    rows = FIVE_MINUTES.partition("## Line by line")[2].partition("\n## ")[0]
    assignments = re.findall(r"`((?:[a-z_]+\.){1,2}[a-z_]+): ([^`]+)`", rows)
    assert len(assignments) > 15
    text = (ROOT / "params.yaml").read_text()
    given = [f"{name}={value}" for name, value in assignments]
    path = tmp_path / "params.yaml"
    path.write_text(overlay(text, parse_assignments(given)))
    (tmp_path / "photos").mkdir()
    known = read_params(path)
    assert known.extract_features.augment.rotation == 20
    assert known.export.formats == ["keras"]


#: What Python itself calls, and a variable of a tutorial.
PLAIN = {
    "classifier",
    "range",
    "len",
    "open",
    "list",
    "print",
    "split",
    "seed",
    "listdir",
    "sample",
    "copy",
}


@pytest.mark.parametrize(
    "page", sorted((ROOT / "docs/tutorials").glob("*.md")), ids=lambda p: p.stem
)
def test_every_keras_call_of_a_tutorial_is_in_the_table(page: Path) -> None:
    table = GUIDE.partition("## From a Keras call")[2]
    code = blocks(page.read_text(), "python")
    original = code[0]  # the tutorial's own; the others show Headstart
    for name in calls(original) - PLAIN:
        assert re.search(rf"\b{name}\b", table), f"{name} of {page.name}"


def test_every_keras_call_of_the_five_minutes_is_in_a_table() -> None:
    [script] = blocks(FIVE_MINUTES, "python")
    table = FIVE_MINUTES.partition("## Line by line")[2] + GUIDE
    for name in calls(script):
        assert re.search(rf"\b{name}\b", table), name
