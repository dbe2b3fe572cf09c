"""Runs with their scores, parameters and predictions: of a commit, or of the workspace."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart._utils.errors import HeadstartError

if TYPE_CHECKING:
    import pandas as pd

    from headstart.evaluation.comparison import Paired
    from headstart.pipeline.plan import Commanded
    from headstart.pipeline.storage import Storage

WORKSPACE = "workspace"
_SIGNIFICANT = 0.05


@dataclass(frozen=True)
class ScoredRun:
    """The run of a commit, or the one in the project's folder.

    Attributes
    ----------
    name : str
        The revision as given, or ``workspace``.
    metrics, parameters : mapping
    corrections : mapping
        What people corrected, as ``data/metrics/split.json`` counts it; empty without corrections.
    predictions : DataFrame or None
        ``image_id``, ``label``, ``predicted``; None if they cannot be found.
    missing : str
        The reason why they cannot be found.
    """

    name: str
    metrics: Mapping[str, Any]
    parameters: Mapping[str, Any]
    corrections: Mapping[str, Any]
    predictions: pd.DataFrame | None = field(repr=False)
    missing: str = ""


def scored_run(root: Path, name: str, storage: Storage) -> ScoredRun:
    """Return a run by its revision, or by the word ``workspace``.

    Raises
    ------
    HeadstartError
        If the revision is unknown, or has no metrics.
    """
    return _workspace(root) if name == WORKSPACE else _of_commit(root, name, storage)


def _workspace(root: Path) -> ScoredRun:
    from headstart.pipeline import graph

    stages = {stage.name: stage for stage in graph.stages(root)}
    metrics, table = _paths(stages, WORKSPACE)
    if not (root / metrics).is_file():
        raise HeadstartError(f"There is no {metrics} yet. Run the pipeline first: `dvc repro`.")
    texts = [(root / path).read_bytes() for path in (metrics, "params.yaml")]
    split = root / _split_metrics(stages)
    texts.append(split.read_bytes() if split.is_file() else b"{}")
    file, missing = root / table, ""
    if not file.is_file():
        missing = f"there is no {table} (`dvc checkout` restores the recorded one)"
    return _run(WORKSPACE, f"{metrics} of the workspace", texts, file, missing)


def _of_commit(root: Path, name: str, storage: Storage) -> ScoredRun:
    from headstart.pipeline import recorded
    from headstart.pipeline.git import Repository

    commit = Repository(root).commit(name)
    records = recorded.records_of(commit)
    metrics, table = _paths(records, name)
    text = commit.content(metrics)
    if text is None:
        raise HeadstartError(
            f"Commit {commit} has no {metrics}, so there is nothing to compare. `git log -- "
            f"{metrics}` lists the commits that have one."
        )
    split = _split_metrics(records)
    texts = [text, commit.content("params.yaml") or b"", (split and commit.content(split)) or b"{}"]
    outs = (out for record in records.values() for out in record.outs)
    md5 = next((out.md5 for out in outs if out.path == table), "")
    with tempfile.TemporaryDirectory() as folder:
        file, missing = Path(folder) / "predictions.csv", ""
        if not md5:
            missing = f"dvc.lock of {name} has no hash for {table}"
        elif storage.fetch(md5, file) is None:
            faults = "".join(f" ({fault})" for fault in dict.fromkeys(storage.faults))
            missing = (
                f"{table} of {name} is neither in DVC's cache nor in the remote{faults}, where "
                "`dvc push` would have put it"
            )
        return _run(name, f"{metrics} of commit {commit}", texts, file, missing)


def _paths(stages: Mapping[str, Commanded], name: str) -> tuple[str, str]:
    """Return where the stage ``evaluate`` writes metrics and predictions."""
    from headstart.pipeline.plan import options

    if "evaluate" not in stages:
        raise HeadstartError(
            f"dvc.yaml of {name} has no stage `evaluate`, so there are no scores to compare. It is "
            "older than the pipeline, or belongs to another one."
        )
    found = options(stages["evaluate"])
    if not {"metrics", "predictions"} <= found.keys():
        raise HeadstartError(
            f"The stage `evaluate` in dvc.yaml of {name} is not called with --metrics and "
            "--predictions, so its scores cannot be found. It belongs to another pipeline."
        )
    return found["metrics"], found["predictions"]


def _split_metrics(stages: Mapping[str, Commanded]) -> str:
    """Return where the stage ``split`` counts corrections; "" in a pipeline that has none."""
    from headstart.pipeline.plan import options

    return options(stages["split"]).get("metrics", "") if "split" in stages else ""


def _run(name: str, title: str, texts: list[bytes], table: Path, missing: str) -> ScoredRun:
    """Return the run from the texts of its metrics, params.yaml and split, and its predictions."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    from headstart.evaluation.predictions import read_predictions

    try:
        metrics = json.loads(texts[0])
    except ValueError as error:
        raise HeadstartError(f"{title} is not JSON: {error}.") from None
    if not isinstance(metrics, dict) or not isinstance(metrics.get("model"), dict):
        raise HeadstartError(f"{title} has no scores of a model: it is in another format.")
    try:
        parameters = YAML(typ="safe").load(texts[1])
    except (YAMLError, ValueError):
        parameters = None
    parameters = parameters if isinstance(parameters, dict) else {}
    corrections = _corrections(texts[2])
    if missing:
        return ScoredRun(name, metrics, parameters, corrections, None, missing)
    try:
        classes = [str(label) for label in metrics["classes"]]
    except (KeyError, TypeError):
        raise HeadstartError(f"The metrics of {name} do not name the classes.") from None
    rows = read_predictions(table, classes).rows
    return ScoredRun(name, metrics, parameters, corrections, rows)


def _corrections(text: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(text)["corrections"]
    except (ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Pair:
    """Two runs to compare image by image."""

    first: ScoredRun
    second: ScoredRun

    @cached_property
    def found(self) -> Paired | None:
        """The paired predictions; None if one of the runs has none."""
        from headstart.evaluation.comparison import paired

        if self.first.predictions is None or self.second.predictions is None:
            return None
        return paired(self.first.predictions, self.second.predictions)

    def sentence(self, meaning: str = "") -> str:
        """Return a sentence about the pair.

        Parameters
        ----------
        meaning : str
            The end of the sentence; by default the result of McNemar's test.
        """
        found, first, second = self.found, self.first.name, self.second.name
        if found is None:
            runs = (self.first, self.second)
            missing = "; ".join(run.missing for run in runs if run.predictions is None)
            return f"{first} and {second} cannot be compared image by image: {missing}."
        if not found.shared:
            return (
                f"{first} and {second} were tested on different images ({found.first:,} and "
                f"{found.second:,}, none in common), so their scores cannot be compared."
            )
        more = f" ({found.alone:,} more are in one test set only)" if found.alone else ""
        labels = f", with the labels of {second}" if found.relabeled else ""
        return (
            f"On the {found.shared:,} images that both were tested on{more}{labels}, only {first} "
            f"is correct on {found.first_only:,}, and only {second} on {found.second_only:,}: "
            f"{meaning or self._verdict(found)}.{self._without_relabeled(found)}"
        )

    def _without_relabeled(self, found: Paired) -> str:
        from headstart.evaluation.comparison import paired

        if not found.relabeled or self.first.predictions is None or self.second.predictions is None:
            return ""
        rest = paired(self.first.predictions, self.second.predictions, relabeled=False)
        verb = "has" if found.relabeled == 1 else "have"
        return (
            f" {found.relabeled:,} of them {verb} another label in {self.first.name}; without, the "
            f"counts are {rest.first_only:,} and {rest.second_only:,}: {self._verdict(rest)}."
        )

    def _verdict(self, found: Paired) -> str:
        from headstart.evaluation.comparison import p_text

        if found.first_only == found.second_only:
            verdict = "neither is better"
        elif found.test.p >= _SIGNIFICANT:
            verdict = "the difference may well be chance"
        else:
            better = self.first if found.first_only > found.second_only else self.second
            verdict = f"{better.name} is better"
        return f"{verdict} (McNemar's exact test, p = {p_text(found.test.p)})"
