"""Runs with their scores, parameters and predictions: of a commit, or of the workspace."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart._utils.errors import HeadstartError

if TYPE_CHECKING:
    import pandas as pd

    from headstart.evaluation.comparison import Paired
    from headstart.pipeline.plan import Commanded
    from headstart.pipeline.recorded import Record
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
    predictions : DataFrame or None
        ``image_id``, ``label``, ``predicted``; None if they cannot be found.
    missing : str
        The reason why they cannot be found.
    """

    name: str
    metrics: Mapping[str, Any]
    parameters: Mapping[str, Any]
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

    metrics, table = _paths({stage.name: stage for stage in graph.stages(root)}, WORKSPACE)
    if not (root / metrics).is_file():
        raise HeadstartError(f"There is no {metrics} yet. Run the pipeline first: `dvc repro`.")
    values = _json((root / metrics).read_bytes(), f"{metrics} of the workspace")
    parameters = _yaml((root / "params.yaml").read_bytes())
    if not (root / table).is_file():
        missing = f"there is no {table} (`dvc checkout` restores the recorded one)"
        return ScoredRun(WORKSPACE, values, parameters, None, missing)
    return ScoredRun(WORKSPACE, values, parameters, _read(root / table, values, WORKSPACE))


def _of_commit(root: Path, name: str, storage: Storage) -> ScoredRun:
    import tempfile

    from headstart.pipeline import recorded
    from headstart.pipeline.git import Repository

    commit = Repository(root).commit(name)
    records = recorded.records_of(commit)
    metrics, table = _paths(records, name)
    text = commit.content(metrics)
    if text is None:
        raise HeadstartError(
            f"Commit {commit} has no {metrics}, so there is nothing to compare. `git log -- "
            f"{metrics}` lists the commits that have."
        )
    values = _json(text, f"{metrics} of commit {commit}")
    parameters = _yaml(commit.content("params.yaml") or b"")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "predictions.csv"
        md5 = _md5(records, table)
        if storage.fetch(md5, file) is None:
            faults = "".join(f" ({fault})" for fault in dict.fromkeys(storage.faults))
            missing = (
                f"{table} of {name} is neither in DVC's cache nor in the remote{faults}, where "
                "`dvc push` would have put it"
                if md5
                else f"dvc.lock of {name} has no hash for {table}"
            )
            return ScoredRun(name, values, parameters, None, missing)
        return ScoredRun(name, values, parameters, _read(file, values, name))


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


def _md5(records: Mapping[str, Record], path: str) -> str:
    outs = (out for record in records.values() for out in record.outs)
    return next((out.md5 for out in outs if out.path == path), "")


def _read(file: Path, metrics: Mapping[str, Any], name: str) -> pd.DataFrame:
    from headstart.evaluation.predictions import read_predictions

    try:
        return read_predictions(file, [str(label) for label in metrics["classes"]]).rows
    except (KeyError, TypeError):
        raise HeadstartError(f"The metrics of {name} do not name the classes.") from None


def _json(text: bytes, name: str) -> Mapping[str, Any]:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise HeadstartError(f"{name} is not JSON: {error}.") from None
    if not isinstance(values, dict) or not isinstance(values.get("model"), dict):
        raise HeadstartError(f"{name} has no scores of a model: it has another format.")
    return values


def _yaml(text: bytes) -> Mapping[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        values = YAML(typ="safe").load(text)
    except (YAMLError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def together(first: ScoredRun, second: ScoredRun) -> Paired | None:
    """Return the paired predictions of two runs; None if one of them has none."""
    from headstart.evaluation.comparison import paired

    if first.predictions is None or second.predictions is None:
        return None
    return paired(first.predictions, second.predictions)


def paired_sentence(
    first: ScoredRun, second: ScoredRun, found: Paired | None, meaning: str = ""
) -> str:
    """Return a sentence about the predictions of two runs.

    Parameters
    ----------
    first, second : ScoredRun
    found : Paired or None
        As :func:`together` returns it.
    meaning : str
        The end of the sentence; by default the result of McNemar's test.
    """
    if found is None:
        missing = "; ".join(run.missing for run in (first, second) if run.predictions is None)
        return f"{first.name} and {second.name} cannot be compared image by image: {missing}."
    if not found.shared:
        return (
            f"{first.name} and {second.name} were tested on different images "
            f"({found.first:,} and {found.second:,}, none in common), so their scores cannot be "
            "compared."
        )
    left_out = found.first + found.second - 2 * found.shared
    counted = f"On the {found.shared:,} images that both were tested on"
    if left_out:
        counted += f" ({left_out:,} more are in one test set only)"
    who = (
        f"only {first.name} is correct on {found.first_only:,}, and only {second.name} on "
        f"{found.second_only:,}"
    )
    if not meaning:
        from headstart.evaluation.comparison import p_text

        p = p_text(found.test.p)
        meaning = f"{_verdict(first, second, found)} (McNemar's exact test, p = {p})"
    return f"{counted}, {who}: {meaning}."


def _verdict(first: ScoredRun, second: ScoredRun, found: Paired) -> str:
    if found.first_only == found.second_only:
        return "neither is better"
    if found.test.p >= _SIGNIFICANT:
        return "the difference may well be chance"
    better = first if found.first_only > found.second_only else second
    return f"{better.name} is better"
