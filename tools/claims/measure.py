"""Runs recipes in a throw-away project, as a user would, and reads what they wrote."""

from __future__ import annotations

import csv
import io
import json
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from benchmarks.checkout import Checkout
from headstart._utils.files import read_json, sha256_bytes, sha256_file, sha256_tree
from headstart.evaluation.comparison import paired
from headstart.evaluation.metrics import wilson_interval
from headstart.evaluation.predictions import Predictions, read_predictions
from tools.claims.intervals import paired_difference
from tools.claims.runs import Pair, Run

_SCORES = (
    "accuracy", "accuracy_low", "accuracy_high", "loss",
    "binary_accuracy", "binary_accuracy_all_negative",
)  # fmt: skip

_SHOWN = 12  # digits of a sha256: enough to tell files apart


@dataclass
class Project:
    """A copy of this project for a group of runs.

    Attributes
    ----------
    checkout : Checkout
    shared : Path
        The folder with ``datasets`` and ``keras/models``.
    results : dict
        Of each run, by its name: JSON values.
    predictions : dict
        Likewise, of the runs that others are compared with.
    """

    checkout: Checkout
    shared: Path
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    predictions: dict[str, Predictions] = field(default_factory=dict)

    def run(self, run: Run) -> dict[str, Any]:
        """Set the recipe, run the stages, keep and return what came out."""
        digest = sha256_file(self.shared / "keras/models" / run.weights)
        module = self.module() if run.module else Path()
        given = sha256_tree(module) if run.module else digest
        settings = run.all_settings(str(self.shared), str(module), given)
        words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        self.checkout.run("headstart", "recipe", run.recipe, *words)
        seconds, _ = self.checkout.repro(*([] if run.export else ["evaluate"]))
        data = self.checkout.folder / "data"
        found = self.read(run.name)
        found["seconds"] = round(seconds, 1)
        if run.export:
            found["export"] = read_json(data / "metrics/export.json")["formats"]
        if run.classified:
            found["whole"] = self.classify(run)
        if run.sizes:
            found["sizes"] = self.resized(run)
        archive = self.shared / "datasets" / run.archive
        for kind, file, sha256 in (
            ("archive", run.archive, sha256_file(archive)),
            ("weights", run.weights, digest),
        ):
            found[kind] = named(file, sha256)
        for key in ("recipe", "what", "instead_of"):
            found[key] = getattr(run, key)
        found["command"] = run.command()
        if run.module:
            found["backbone"] = "a module of mobilenet_v2"
        return found

    def read(self, name: str) -> dict[str, Any]:
        """Keep what lies in the project under a name; return its result."""
        data = self.checkout.folder / "data"
        found = self.results[name] = outcome(data)
        self.predictions[name] = read_predictions(
            data / "reports/predictions.csv", found["classes"]
        )
        return found

    def module(self) -> Path:
        """MobileNetV2 as a module in TensorFlow Hub's format; made once."""
        folder = self.checkout.folder.parent / "module"
        if not folder.exists():
            self.checkout.run(
                sys.executable, "-m", "benchmarks.hub_module", "--output", str(folder)
            )
        return folder

    def classify(self, run: Run) -> dict[str, Any]:
        """What the exported model says of a whole folder, and of those that it was trained on."""
        folder = self.checkout.folder.parent / "classified"
        names = unpack(self.shared / "datasets" / run.archive, run.classified, folder)
        seen = digests(self.shared / "datasets" / run.archive, run.seen)
        _, said = self.checkout.run(
            "headstart", "predict", str(folder / run.classified), "--format", "csv"
        )
        rows = list(csv.DictReader(io.StringIO(said[said.index("file,label") :])))
        if len(rows) != len(names):
            raise RuntimeError(f"{len(rows)} of {len(names)} images were classified:\n{said}")
        right = {row["file"]: Path(row["file"]).parent.name == row["label"] for row in rows}
        twice = [file for file in right if sha256_bytes(Path(file).read_bytes()) in seen]
        return {
            **share(sum(right.values()), len(right)),
            "trained_on": len(twice),
            "right_of_trained_on": sum(right[file] for file in twice),
        }

    def resized(self, run: Run) -> list[dict[str, Any]]:
        """The trained model on the test images at its own size and others."""
        _, said = self.checkout.run("headstart", "sizes", *map(str, run.sizes), "--json")
        rows = json.loads(said[said.index("{") :])["sizes"]
        return [{"size": row["size"], **share(row["correct"], row["images"])} for row in rows]

    def compare(self, pair: Pair) -> dict[str, Any]:
        """Lay the predictions of two models over one another."""
        first, second = (
            first_guesses(self.predictions[name], which, self.results[name]["classes"])
            for name, which in (pair.first, pair.second)
        )
        result = {"what": pair.what, **compared(first, second)}
        self.results[pair.name] = result
        return result


def outcome(data: Path) -> dict[str, Any]:
    """What a run's files say of it, as JSON values without any path."""
    scores = read_json(data / "metrics/evaluate.json")
    table = read_json(data / "journal/runtime.json")
    backbone = read_json(data / "backbone/backbone.json")
    loaded = read_json(data / "metrics/download.json")
    aside = pd.read_csv(data / "manifests/rejected.csv", keep_default_na=False)
    found = {
        which: {
            "right": scores[which]["correct"],
            **{key: scores[which][key] for key in _SCORES if key in scores[which]},
        }
        for which in ("head", "model")
    }
    return {
        **found,
        "kind": scores["kind"],
        "chosen_because": scores["chosen_because"],
        "classes": scores["classes"],
        "train": scores["train_images"],
        "validation": scores["validation_images"],
        "test": scores["test_images"],
        "files": loaded["files"],
        "copies": loaded["duplicates"],
        "rejected": [
            [PurePosixPath(path).as_posix(), reason]
            for path, reason in zip(aside["path"], aside["reason"], strict=True)
        ],
        "backbone": backbone["name"],
        "alpha": backbone["alpha"],
        "image_size": backbone["image_size"],
        "feature_shape": backbone["feature_shape"],
        "random_weights": backbone["random_weights"],
        "passes": table["passes_done"],
        "cached": table["passes_cached"],
    }


def compared(first: pd.DataFrame, second: pd.DataFrame) -> dict[str, Any]:
    """Counts, the difference of two accuracies with its interval, and McNemar's test.

    Parameters
    ----------
    first, second : DataFrame
        ``image_id``, ``label`` and ``predicted``, a row a test image.
    """
    found = paired(first, second)
    counts = (found.both, found.first_only, found.second_only, found.neither)
    difference, low, high = paired_difference(*counts)
    return {
        "both": found.both, "first_only": found.first_only, "second_only": found.second_only,
        "neither": found.neither, "shared": found.shared, "tests": [found.first, found.second],
        "difference": difference, "low": low, "high": high,
        "p": found.test.p, "exact": True,
    }  # fmt: skip


def named(file: str, sha256: str) -> dict[str, str]:
    """A file as the record names it."""
    return {"file": file, "sha256": sha256[:_SHOWN]}


def share(right: int, n: int) -> dict[str, Any]:
    """A share with its 95 % interval."""
    low, high = wilson_interval(right, n)
    return {
        "right": right, "n": n, "accuracy": right / n, "accuracy_low": low, "accuracy_high": high,
    }  # fmt: skip


def first_guesses(predictions: Predictions, which: str, classes: list[str]) -> pd.DataFrame:
    """``image_id``, ``label`` and the first guess of the head-only or the final model."""
    probabilities = predictions.head if which == "head" else predictions.model
    guesses = [classes[i] for i in probabilities.argmax(axis=1)]
    return predictions.rows[["image_id", "label"]].assign(predicted=guesses)


def unpack(archive: Path, folder: str, target: Path) -> list[str]:
    """Unpack the images below a folder of an archive of our own; return their names."""
    with zipfile.ZipFile(archive) as members:
        names = files_below(members, folder)
        members.extractall(target, names)
    return names


def digests(archive: Path, folder: str) -> set[str]:
    """The sha256 of every file below a folder of an archive."""
    with zipfile.ZipFile(archive) as members:
        return {sha256_bytes(members.read(name)) for name in files_below(members, folder)}


def files_below(members: zipfile.ZipFile, folder: str) -> list[str]:
    """Names of the files below a folder of an archive, sorted."""
    names = sorted(name for name in members.namelist() if not name.endswith("/"))
    return [name for name in names if name.startswith(f"{folder}/")]
