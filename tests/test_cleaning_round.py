"""A cleaning round on photographs: faults planted, found, decided in a browser, applied, proved.

``pytest -s`` prints the figures.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps

from benchmarks.checkout import Checkout, decodes
from headstart.datasets.corrections import read_corrections
from headstart.datasets.manifests import read_split
from headstart.evaluation.predictions import read_predictions
from headstart.evaluation.recorded import read_evaluation
from tests.browser import browser, chromium
from tests.review.served import PATIENCE, served
from tests.test_end_to_end import lock, stages_that_ran, table

pytestmark = [pytest.mark.pipeline, pytest.mark.shared, pytest.mark.timeout(3000)]
EACH = 250  # images per class
WRONG = 25  # of them, whose label is wrong
COPIES = 10  # mirrored, in the other class
LOOKED_AT = 70  # label issues


def other(label: str) -> str:
    return {"Cat": "Dog", "Dog": "Cat"}[label]


def truth(path: str) -> str:
    """The true class of an image, which stands at the beginning of its name."""
    return Path(path).name.split("-")[0]


def plant(archive: Path, folder: Path) -> None:
    """Write class folders of ``Cat-1.jpg``, some in the wrong one, and ``Dog-2-copy.jpg``."""
    random = np.random.Generator(np.random.Philox(key=11))
    with zipfile.ZipFile(archive) as members:
        names = sorted(members.namelist())
        for label in ("Cat", "Dog"):
            contents = {
                f"{label}-{Path(name).stem}": content
                for name in names
                if f"/{label}/" in name and decodes(content := members.read(name))
            }
            chosen = random.permutation(sorted(contents))[:EACH].tolist()
            for n, name in enumerate(chosen):
                place = other(label) if n < WRONG else label
                (folder / place).mkdir(parents=True, exist_ok=True)
                (folder / place / f"{name}.jpg").write_bytes(contents[name])
            for name in chosen[WRONG : WRONG + COPIES]:
                with Image.open(io.BytesIO(contents[name])) as image:
                    copy = ImageOps.mirror(image.convert("RGB"))
                copy.save(folder / other(label) / f"{name}-copy.jpg", quality=80)


@dataclass
class Person:
    """Looks at a review in a browser, and decides by the true classes."""

    page: Any
    decided: Counter[str] = field(default_factory=Counter)

    def open(self, title: str) -> int:
        """Open a list; return the number of its findings."""
        button = self.page.get_by_role("button", name=title)
        button.click()
        return int(button.inner_text().split("(")[1].rstrip(")").replace(",", ""))

    def paths(self) -> list[str]:
        """The files of the images that are shown."""
        return [
            text.split(" · ")[1] for text in self.page.locator("figcaption span").all_inner_texts()
        ]

    def press(self, *keys: str, said: str, path: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
        self.page.locator("#status", has_text=said).filter(has_text=path).wait_for()
        self.decided[said] += 1

    def duplicates(self) -> None:
        for _ in range(self.open("Near duplicates")):
            paths = self.paths()
            copies = [place for place, path in enumerate(paths) if "-copy" in path]
            if copies:
                self.press(str(copies[0] + 1), "x", said="Removed", path=paths[copies[0]])
            else:
                self.press("s", said="Same object", path=paths[0])

    def label_issues(self) -> None:
        for _ in range(min(self.open("Label issues"), LOOKED_AT)):
            (path,) = self.paths()
            if truth(path) == path.split("/")[-2]:
                self.press("k", said="Kept", path=path)
            else:
                self.page.keyboard.press("r")
                assert self.page.locator("#class").input_value() == truth(path)
                self.press("Enter", said=f"Relabeled: {truth(path)}", path=path)


@contextmanager
def looking(address: str) -> Iterator[Person]:
    with browser() as opened:
        page = opened.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.set_default_timeout(1000 * PATIENCE)
        page.goto(address)
        page.locator("#where", has_text="1 of").wait_for()
        yield Person(page)
        assert faults == []


def scores(checkout: Checkout) -> dict[str, float]:
    """The accuracy that the run states, and the one by the true classes of its test images."""
    found = read_evaluation(checkout.folder / "data/metrics/evaluate.json")
    rows = read_predictions(checkout.folder / "data/reports/predictions.csv", found["classes"]).rows
    true = (rows["predicted"] == rows["path"].map(truth)).mean()
    return {"images": len(rows), "stated": found["model"]["accuracy"], "true": float(true)}


def wrong(split: pd.DataFrame) -> int:
    return int((split["label"] != split["path"].map(truth)).sum())


def test_a_cleaning_round(shared: Path, imagenet_home: Path, tmp_path: Path) -> None:
    chromium()  # skips before the work
    plant(shared / "datasets" / "cats-dogs.zip", tmp_path / "photographs")
    checkout = Checkout(tmp_path / "project", tmp_path / "store", imagenet_home)
    checkout.set(
        download__source="folder",
        download__location=str(tmp_path / "photographs"),
        split__validation=0.2,
        split__test=0.3,
        backbone__name="mobilenet_v2",
        backbone__alpha=0.35,
        backbone__weights="imagenet",
        backbone__image_size=112,  # Keras takes the weights for 224
        export__formats=["keras"],
    )
    checkout.repro()
    checkout.git("add", "--all")
    checkout.git("commit", "--quiet", "--message", "Before the first round")
    before, labels = scores(checkout), read_split(checkout.folder / "data/manifests/split.csv")
    assert wrong(labels) == 2 * (WRONG + COPIES)

    log = tmp_path / "review.log"
    with served(checkout.folder, log, checkout.environment) as address, looking(address) as person:
        person.duplicates()
        person.page.reload()
        person.page.locator("#where", has_text="1 of").wait_for()
        person.label_issues()
    lines = read_corrections(checkout.folder / "data/corrections.csv")
    actions = Counter(line.action for line in lines)
    assert actions["remove"] == person.decided["Removed"] == 2 * COPIES
    relabeled = sum(n for said, n in person.decided.items() if said.startswith("Relabeled"))
    assert actions["relabel"] == relabeled
    changed = checkout.git("diff", "--name-only").split()
    assert changed == ["data/corrections.csv"]

    _, output = checkout.repro()
    ran = stages_that_ran(output)
    assert "split" in ran
    assert not {"download", "find_duplicates", "backbone"} & set(ran)
    assert table(checkout)["passes_done"] == 0
    after, corrected = scores(checkout), read_split(checkout.folder / "data/manifests/split.csv")
    assert wrong(corrected) == wrong(labels) - actions["remove"] - relabeled
    assert wrong(corrected) <= wrong(labels) / 4
    assert after["true"] >= before["true"]
    _, compared = checkout.run("headstart", "compare", "HEAD")
    assert "relabel.train" in compared
    assert "with the labels of workspace" in compared
    card = json.loads((checkout.folder / "data/export/model_card.json").read_text())
    assert sum(card["data"]["corrections"]["relabel"].values()) == relabeled

    checkout.git("add", "--all")
    checkout.git("commit", "--quiet", "--message", "The first round")
    locked = (checkout.folder / "dvc.lock").read_bytes()
    _, output = checkout.repro()
    assert stages_that_ran(output) == []
    _, output = checkout.repro("--force", "split", "sample", "train_head")
    assert "train_head" in stages_that_ran(output)
    assert (checkout.folder / "dvc.lock").read_bytes() == locked
    _, output = checkout.run("headstart", "reproduce", "HEAD")
    assert "Verdict: bit-exact" in output
    assert lock(checkout)["data/manifests/corrected.csv"]
    print(f"\n{dict(person.decided)}\nwrong labels: {wrong(labels)}, then {wrong(corrected)}")
    print(f"accuracy: {before}, then {after}\n{compared}\n{output[-400:]}")
