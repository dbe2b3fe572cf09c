"""Measurements: recipes are run in a throw-away project, as a user would, and their files read."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.checkout import Checkout
from benchmarks.imagenet import SPECIES
from headstart._utils.files import read_json, sha256_bytes, sha256_file, sha256_tree
from headstart.datasets.manifests import SPLITS, read_rejected, read_split
from headstart.datasets.shards import ShardReader
from headstart.evaluation.comparison import paired
from headstart.evaluation.metrics import wilson_interval
from headstart.evaluation.predictions import Predictions, read_predictions
from headstart.evaluation.recorded import read_evaluation
from headstart.images.formats import EXTENSIONS
from tools.claims.plan import Pair, Run

#: A complete network of Keras, the file that names its classes, and images of cats and dogs.
IMAGENET_FILES = {
    "file": "mobilenet_2_5_128_tf.h5", "index": "imagenet_class_index.json",
    "archive": "cats-dogs.zip",
}  # fmt: skip
_CLASSIFY = "headstart classify --imagenet --backbone mobilenet --alpha 0.25 --image-size 128"
_SCORES = (
    "accuracy", "accuracy_low", "accuracy_high", "loss",
    "binary_accuracy", "binary_accuracy_all_negative",
)  # fmt: skip
_SHOWN = 12  # digits of a SHA-256: enough to tell files apart


@dataclass
class Project:
    """A copy of this project for a group of runs.

    Attributes
    ----------
    checkout : Checkout
    shared : Path
        The folder with ``datasets`` and ``keras/models``.
    results, predictions : dict
        By the name of the run: JSON values, and what others are compared with.
    """

    checkout: Checkout
    shared: Path
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    predictions: dict[str, Predictions] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Put the copy's own code before the installed library."""
        self.checkout.environment["PYTHONPATH"] = str(self.checkout.folder)

    @property
    def data(self) -> Path:
        """The folder of the project's outputs."""
        return self.checkout.folder / "data"

    def run(self, run: Run) -> dict[str, Any]:
        """Apply the recipe, run the stages, keep and return the results."""
        archive, weights = self.shared / "datasets" / run.archive, self.weights(run.weights)
        module = self.module() if run.module else Path()
        given = sha256_tree(module) if run.module else sha256_file(weights)
        settings = run.all_settings(str(self.shared), str(module), given)
        words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        self.checkout.run("headstart", "recipe", run.recipe, *words)
        seconds, _ = self.checkout.repro(*([] if run.export else ["evaluate"]))
        found = self.read(run.name)
        found |= {key: getattr(run, key) for key in ("recipe", "what", "instead_of")}
        found |= {"command": run.command(), "seconds": round(seconds, 1)}
        found |= {"archive": named(archive), "weights": named(weights)}
        if run.export:
            found["export"] = read_json(self.data / "metrics/export.json")["formats"]
        if run.classified:
            found["whole"] = self.classify(run, archive)
        if run.sizes:
            _, printed = self.checkout.run("headstart", "sizes", *map(str, run.sizes), "--json")
            sizes = json.loads(printed[printed.index("{") :])["sizes"]
            found["sizes"] = [
                {"size": s["size"], **share(s["correct"], s["images"])} for s in sizes
            ]
        if run.module:
            found["backbone"] = "a module of mobilenet_v2"
        return found

    def in_keras(self, *words: str | Path) -> tuple[float, dict[str, Any]]:
        """Run ``tools.claims.in_keras``; return the seconds of the process, and what it printed."""
        command = [sys.executable, "-m", "tools.claims.in_keras", *map(str, words)]
        seconds, printed = self.checkout.run(*command)
        line = next(line for line in reversed(printed.splitlines()) if line[:1] == "{")
        return seconds, json.loads(line)

    def read(self, name: str) -> dict[str, Any]:
        """Keep the project's current results under a name; return them."""
        found = self.results[name] = outcome(self.data)
        path = self.data / "reports/predictions.csv"
        self.predictions[name] = read_predictions(path, found["classes"])
        return found

    def weights(self, name: str) -> Path:
        """Return the path of a file of Keras."""
        return self.shared / "keras/models" / name

    def module(self) -> Path:
        """Return MobileNetV2 as a module in TensorFlow Hub's format; it is made once."""
        folder = self.checkout.folder.parent / "module"
        if not folder.exists():
            command = [sys.executable, "-m", "benchmarks.hub_module", "--output", str(folder)]
            self.checkout.run(*command)
        return folder

    def classify(self, run: Run, archive: Path) -> dict[str, Any]:
        """Classify a complete folder, and count the images that the model was trained on."""
        folder = self.checkout.folder.parent / "classified"
        names = unpack(archive, run.classified, folder)
        with zipfile.ZipFile(archive) as members:
            seen = {sha256_bytes(members.read(name)) for name in below(members, run.seen)}
        command = ["headstart", "predict", str(folder / run.classified), "--format", "csv"]
        _, printed = self.checkout.run(*command)
        rows = list(csv.DictReader(io.StringIO(printed[printed.index("file,label") :])))
        if len(rows) != len(names):
            raise RuntimeError(f"{len(rows)} of {len(names)} images were classified:\n{printed}")
        right = {row["file"]: Path(row["file"]).parent.name == row["label"] for row in rows}
        twice = [file for file in right if sha256_bytes(Path(file).read_bytes()) in seen]
        leaked = sum(right[file] for file in twice)
        own = share(sum(right.values()), len(right))
        return {**own, "trained_on": len(twice), "right_of_trained_on": leaked}

    def imagenet(self) -> dict[str, Any]:
        """Classify photographs of cats and dogs by a complete network; count the right animals."""
        images = self.checkout.folder.parent / "images"
        unpack(self.shared / "datasets" / IMAGENET_FILES["archive"], "PetImages", images)
        # The exit code is 3, because the archive holds files that are not images.
        words = [*_CLASSIFY.split(), "--top", "1", "--format", "jsonl", str(images / "PetImages")]
        _, printed = self.checkout.run(*words, check=False)
        rows = [json.loads(line) for line in printed.splitlines() if line.startswith('{"file"')]
        if not rows:
            raise RuntimeError(f"Nothing was classified:\n{printed}")
        index = read_json(self.weights(IMAGENET_FILES["index"]))
        species = {}
        for name, places in SPECIES.items():
            own = {index[str(place)][0] for place in places}
            of_it = [row["synset"] for row in rows if Path(row["file"]).parent.name == name]
            species[name] = share(sum(synset in own for synset in of_it), len(of_it))
        return {
            "network": "MobileNet 0.25 at 128", "command": _CLASSIFY, "species": species,
            "weights": named(self.weights(IMAGENET_FILES["file"])),
        }  # fmt: skip

    def compare(self, pair: Pair) -> None:
        """Compare the predictions of two models and keep the result."""
        first, second = (self.first_guesses(*model) for model in (pair.first, pair.second))
        self.results[pair.name] = {"what": pair.what, **compared(first, second)}

    def first_guesses(self, name: str, which: str) -> pd.DataFrame:
        """Return ``image_id``, ``label``, ``predicted`` of a run's ``head`` or final ``model``."""
        predictions, classes = self.predictions[name], self.results[name]["classes"]
        guesses = [classes[i] for i in getattr(predictions, which).argmax(axis=1)]
        return predictions.rows[["image_id", "label"]].assign(predicted=guesses)

    def ways(self, way_a: str) -> dict[str, Any]:
        """Run way B on the same images as way A, the project's latest run; compare both."""
        folder = self.checkout.folder
        images = folder.parent / "images"
        lay_out(self.data, images)
        _, equal = self.in_keras("compare", folder)
        seconds, trained = self.in_keras("train", folder, images)
        first = self.first_guesses(way_a, "model")
        second = first.assign(predicted=first["image_id"].map(trained.pop("predicted")))
        pair = compared(first, second)
        own = share(pair["both"] + pair["second_only"], pair["shared"])
        way_b = {**own, **trained, "seconds": round(seconds, 1)}
        return {"before_training": equal, "way_b": way_b, "pair": pair}


def outcome(data: Path) -> dict[str, Any]:
    """Return the results of a run from its files, as JSON values without any path."""
    scores = read_evaluation(data / "metrics/evaluate.json")
    table = read_json(data / "run_statistics/runtime.json")
    backbone = read_json(data / "backbone/backbone.json")
    loaded = read_json(data / "metrics/download.json")
    rejected = read_rejected(data / "manifests/rejected.csv")
    models = {
        which: {key: scores[which][key] for key in _SCORES if key in scores[which]}
        | {"right": scores[which]["correct"]}
        for which in ("head", "model")
    }
    of_backbone = ("alpha", "image_size", "feature_shape", "random_weights")
    return {
        **models,
        **{key: scores[key] for key in ("kind", "chosen_because", "classes")},
        **{split: scores[f"{split}_images"] for split in SPLITS},
        "files": loaded["files"],
        "copies": loaded["duplicates"],
        "rejected": rejected[["path", "reason"]].to_numpy().tolist(),
        "backbone": backbone["name"],
        **{key: backbone[key] for key in of_backbone},
        "passes": table["passes_done"],
        "cached": table["passes_cached"],
    }


def compared(first: pd.DataFrame, second: pd.DataFrame) -> dict[str, Any]:
    """Return counts, the difference of two accuracies with its interval, and McNemar's test.

    Parameters
    ----------
    first, second : DataFrame
        ``image_id``, ``label`` and ``predicted``, one row per test image.
    """
    found = paired(first, second)
    counts = {key: getattr(found, key) for key in ("both", "first_only", "second_only", "neither")}
    difference, low, high = paired_difference(*counts.values())
    return {
        **counts, "shared": found.shared, "tests": [found.first, found.second],
        "difference": difference, "low": low, "high": high,
        "p": found.test.p, "exact": True,
    }  # fmt: skip


def paired_difference(
    both: int, first_only: int, second_only: int, neither: int
) -> tuple[float, float, float]:
    """Return the first accuracy minus the second, and its 95 % confidence interval.

    Parameters
    ----------
    both, first_only, second_only, neither : int
        Images by which model is right; at least one in total.

    Returns
    -------
    difference, low, high : float
        Each from -1 to 1.

    References
    ----------
    R. G. Newcombe (1998), Improved confidence intervals for the difference between binomial
    proportions based on paired data. Statistics in Medicine 17, 2635-2650, method 10: from Wilson's
    intervals, with the correlation of the pairs, corrected for continuity.
    """
    n = both + first_only + second_only + neither
    right1, right2 = both + first_only, both + second_only
    (low1, high1), (low2, high2) = wilson_interval(right1, n), wilson_interval(right2, n)
    margins = right1 * (n - right1) * right2 * (n - right2)
    apart: float = both * neither - first_only * second_only
    if apart > 0:
        apart = max(0, 2 * apart - n) / 2
    phi = apart / math.sqrt(margins) if margins else 0.0  # one is right about all, or about none

    def root(a: float, b: float) -> float:
        return math.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))

    difference = (first_only - second_only) / n
    below = root(right1 / n - low1, high2 - right2 / n)
    above = root(high1 - right1 / n, right2 / n - low2)
    return difference, max(-1.0, difference - below), min(1.0, difference + above)


def named(path: Path) -> dict[str, str]:
    """Return a file as the record names it."""
    return {"file": path.name, "sha256": sha256_file(path)[:_SHOWN]}


def share(right: int, n: int) -> dict[str, Any]:
    """Return a share with its 95 % interval."""
    low, high = wilson_interval(right, n)
    own = {"right": right, "n": n, "accuracy": right / n}
    return {**own, "accuracy_low": low, "accuracy_high": high}


def unpack(archive: Path, folder: str, target: Path) -> list[str]:
    """Unpack the images below a folder of one of our archives; return their names."""
    with zipfile.ZipFile(archive) as members:
        names = below(members, folder)
        members.extractall(target, names)
    return names


def below(members: zipfile.ZipFile, folder: str) -> list[str]:
    """Return the names of the files below a folder of an archive, sorted."""
    names = (name for name in members.namelist() if not name.endswith("/"))
    return sorted(name for name in names if name.startswith(f"{folder}/"))


def lay_out(data: Path, target: Path) -> None:
    """Write the images as the tutorial has them: split, class, file, named by their SHA-256."""
    rows = read_split(data / "manifests/sample.csv")
    with ShardReader(data / "images") as reader:
        for row in rows[rows["split"].isin(SPLITS)].itertuples():
            folder = target / str(row.split) / str(row.label)
            folder.mkdir(parents=True, exist_ok=True)
            # pandas has no types for the fields of a row.
            content = reader.read(row.shard, row.offset, row.bytes, str(row.image_id))  # type: ignore[arg-type]
            (folder / f"{row.image_id}.{EXTENSIONS[str(row.format)]}").write_bytes(content)
