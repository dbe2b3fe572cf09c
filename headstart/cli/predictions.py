"""What `compare` and `gate` share: a run's scores and predictions, of a commit or the folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart._utils.errors import HeadstartError

if TYPE_CHECKING:
    import pandas as pd

    from headstart.pipeline.plan import Commanded
    from headstart.pipeline.recorded import Record
    from headstart.pipeline.storage import Storage

WORKSPACE = "workspace"


@dataclass(frozen=True)
class Side:
    """A run: the commit's, or what lies in the project's folder.

    Attributes
    ----------
    name : str
        As it was asked for.
    metrics, parameters : mapping
    predictions : DataFrame or None
        ``image_id``, ``label``, ``predicted``; None: they are nowhere.
    why : str
        Why they are nowhere.
    """

    name: str
    metrics: Mapping[str, Any]
    parameters: Mapping[str, Any]
    predictions: pd.DataFrame | None = field(repr=False)
    why: str = ""


def side(root: Path, name: str, storage: Storage) -> Side:
    """A run by its revision, or by the word ``workspace``.

    Raises
    ------
    HeadstartError
        If the revision is unknown, or has no metrics.
    """
    return _workspace(root) if name == WORKSPACE else _of_commit(root, name, storage)


def _workspace(root: Path) -> Side:
    from headstart.pipeline import graph

    metrics, table = _paths({stage.name: stage for stage in graph.stages(root)}, WORKSPACE)
    if not (root / metrics).is_file():
        raise HeadstartError(f"There is no {metrics} yet. Run the pipeline first: `dvc repro`.")
    values = _json((root / metrics).read_bytes(), f"{metrics} of the workspace")
    parameters = _yaml((root / "params.yaml").read_bytes())
    if not (root / table).is_file():
        why = f"there is no {table} (`dvc checkout` brings the recorded one)"
        return Side(WORKSPACE, values, parameters, None, why)
    return Side(WORKSPACE, values, parameters, _read(root / table, values, WORKSPACE))


def _of_commit(root: Path, name: str, storage: Storage) -> Side:
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
            why = (
                f"{table} of {name} is neither in DVC's cache nor in the remote{faults}, where "
                "`dvc push` would put it"
                if md5
                else f"dvc.lock of {name} has no hash for {table}"
            )
            return Side(name, values, parameters, None, why)
        return Side(name, values, parameters, _read(file, values, name))


def _paths(stages: Mapping[str, Commanded], name: str) -> tuple[str, str]:
    """Where the stage ``evaluate`` writes metrics and predictions."""
    from headstart.pipeline.plan import options

    if "evaluate" not in stages:
        raise HeadstartError(
            f"dvc.yaml of {name} has no stage `evaluate`, so it has no scores to compare. It is "
            "from before the pipeline, or of another one."
        )
    found = options(stages["evaluate"])
    if not {"metrics", "predictions"} <= found.keys():
        raise HeadstartError(
            f"The stage `evaluate` in dvc.yaml of {name} is not called with --metrics and "
            "--predictions, so it does not say where its scores are. It is of another pipeline."
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
        raise HeadstartError(f"The metrics of {name} name no classes.") from None


def _json(text: bytes, what: str) -> Mapping[str, Any]:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise HeadstartError(f"{what} is no JSON: {error}.") from None
    if not isinstance(values, dict) or not isinstance(values.get("model"), dict):
        raise HeadstartError(f"{what} has no scores of a model: it is of another format.")
    return values


def _yaml(text: bytes) -> Mapping[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        values = YAML(typ="safe").load(text)
    except (YAMLError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
