"""The recipes of the tutorials: what their headers must say, and that the unmeasured ones run.

That each recipe is valid over params.yaml stands in ``tests/pipeline/test_recipes.py``.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks.checkout import Checkout
from headstart._utils.tables import leaves
from headstart.pipeline import recipes
from headstart.pipeline.recipes import header, load, names, read_text
from headstart.stage.parameters import read_params
from tests.conftest import ROOT
from tests.images.made import encoded
from tests.stages.small_run import image

RECIPES = ROOT / "recipes"
NAMES = names(RECIPES)
TEXTS = {name: read_text(RECIPES, name) for name in NAMES}
UNMEASURED = [name for name in NAMES if "not measured" in header(TEXTS[name])]
#: One recipe for each tutorial's items, and two of our own.
TUTORIALS = {
    "alien-vs-predator",
    "alien-vs-predator-hub",
    "cats-vs-dogs-resnet101v2-finetune",
    "cats-vs-dogs-sample",
    "cats-vs-dogs-vgg16",
    "fruits360-mobilenet",
    "hub-feature-vector",
    "vgg16-features",
}


def test_every_tutorial_has_its_recipe() -> None:
    assert set(NAMES) >= TUTORIALS


@pytest.mark.parametrize("name", NAMES)
def test_a_header_says_what_command_claim_score_and_changes(name: str) -> None:
    top = header(TEXTS[name])
    title, blank, command, then = top.splitlines()[:4]
    assert title[0].isupper()
    assert blank == ""
    assert command.startswith(f"  headstart recipe {name}")
    assert then == "  dvc repro"
    for part in ("Claim:", "Measured:", "Changed, and why:"):
        assert re.search(rf"^{part}", top, re.MULTILINE), part
    assert all(len(line) <= 100 for line in TEXTS[name].splitlines())


@pytest.mark.parametrize("name", sorted(TUTORIALS))
def test_a_score_comes_with_its_images_weights_and_interval_or_not_at_all(name: str) -> None:
    measured = re.sub(r"\s+", " ", header(TEXTS[name]).split("Measured:")[1].split("Changed,")[0])
    if name in UNMEASURED:
        own = measured.split("with MobileNetV2")[0]
        assert "weights were not at hand" in own
        assert not re.search(r"\.\d\d", own)
    else:
        assert re.search(r"of \d+ test images \(95 % interval [\d.]+ to [\d.]+\)", measured)
        assert re.search(r"weights of MobileNet", measured)
        assert re.search(r"[cC]ode of [0-9a-f]{7}", measured)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_leaves_nothing_of_the_one_before(name: str) -> None:
    # `default` has every key, also those that no other recipe sets.
    others = (text for other, text in TEXTS.items() if other != "default")
    every = {key for text in others for key in leaves(load(text))}
    own = set(leaves(load(TEXTS[name])))
    if load(TEXTS[name])["extract_features"]["views"] == 0:  # then `augment` does nothing
        every = {key for key in every if not key.startswith("extract_features.augment.")}
    if name == "my-photos":  # no figure was measured with it, so the seed stays the user's
        every.remove("seed")
    assert every <= own


def test_the_sample_is_the_same_model_on_fewer_images() -> None:
    whole: Any = load(TEXTS["cats-vs-dogs-vgg16"])
    sample: Any = load(TEXTS["cats-vs-dogs-sample"])
    assert sample["sample"] == {"train_per_class": 500, "validation_per_class": 100}
    assert sample["train_head"].pop("epochs") == 2 * whole["train_head"].pop("epochs")
    for section in (whole, sample):
        section.pop("sample")
    assert sample == whole


PAGES = [
    ROOT / "docs/tutorials.md",
    ROOT / "docs/tutorial-items.md",
    *sorted((ROOT / "docs/tutorials").glob("*.md")),
]
#: Every `headstart recipe NAME --set …` of the headers, the table and the pages.
COMMANDS = sorted(
    {
        (name, words.strip())
        for text in (*map(header, TEXTS.values()), *(page.read_text() for page in PAGES))
        for name, words in re.findall(
            r"headstart recipe (\S+) (--set [^\n`]*)", re.sub(r" \\\n +", " ", text)
        )
    }
)


@pytest.mark.parametrize(("name", "words"), COMMANDS, ids=range(len(COMMANDS)))
def test_every_command_that_is_shown_gives_valid_values(
    name: str, words: str, tmp_path: Path
) -> None:
    params = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", params)
    own = recipes.parse_assignments([word for word in shlex.split(words) if word != "--set"])
    recipes.apply(params, [load(TEXTS[name]), own])
    read_params(params)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", UNMEASURED)
def test_what_was_not_measured_runs_with_random_weights(name: str, tmp_path: Path) -> None:
    """Mechanics and nothing else: few small images, a small side, an epoch or two."""
    checkout = Checkout(tmp_path / "project", tmp_path / "store")
    for kind, label in enumerate(("cat", "dog")):
        folder = tmp_path / "images" / label
        folder.mkdir(parents=True)
        for number in range(12):
            (folder / f"{number:02}.png").write_bytes(encoded(image(kind, number), "PNG"))
    small = {
        "download.source": "folder", "download.location": tmp_path / "images",
        "download.name": "null", "split.validation": 0.25, "split.test": 0.25,
        "backbone.weights": "random", "backbone.image_size": 48, "train_head.epochs": 2,
    }  # fmt: skip
    if load(TEXTS[name])["fine_tune"]["epochs"]:
        small["fine_tune.epochs"] = 1
    assignments = [word for key, value in small.items() for word in ("--set", f"{key}={value}")]
    checkout.run("headstart", "recipe", name, *assignments)
    _, said = checkout.repro("export")
    assert "RANDOM WEIGHTS" in said
    metrics = checkout.folder / "data/metrics"
    assert json.loads((metrics / "evaluate.json").read_text())["random_weights"]
    formats = json.loads((metrics / "export.json").read_text())["formats"]
    assert formats["saved_model"]["pixels"]["same_first_guess_share"] == 1.0
