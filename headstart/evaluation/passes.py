"""The table of passes: the forward passes that this run made, and those that were cached."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headstart._utils.errors import CorruptFileError
from headstart._utils.files import write_json
from headstart._utils.records import Facts, read_facts
from headstart.stage.run_statistics import RunStatistics

EXTRACTION = "extract_features"
TABLE = "runtime.json"


def write_table(run_statistics: RunStatistics, feature_rows: int) -> dict[str, Any]:
    """Write the statistics of this stage, then the table of all stages; return the table.

    Parameters
    ----------
    run_statistics : RunStatistics
        Of the stage that is running.
    feature_rows : int
        Rows of the recorded features in use.
    """
    run_statistics.write()  # So that the table has this stage's row.
    table = {**passes_table(run_statistics.others(), feature_rows), "feature_rows": feature_rows}
    write_json(run_statistics.folder / TABLE, table)
    return table


def refresh_table(run_statistics: RunStatistics) -> None:
    """Add this stage to the table that an earlier stage wrote.

    A stage that runs by itself leaves the table as it is, because it describes the run that
    computed the scores, and belongs to their commit. So a clone can draw the report unchanged.
    """
    path = run_statistics.folder / TABLE
    others = run_statistics.others().items()
    alone = not any(entry["this_run"] for name, entry in others if name != run_statistics.stage)
    if alone or not path.exists():
        return
    try:
        feature_rows = read_table(path)["feature_rows"]
    except CorruptFileError as error:  # Not worth a stage that has done its work.
        print(f"The table of passes is not updated: {error}", flush=True)
        return
    write_table(run_statistics, feature_rows)


class _Row(Facts):
    stage: str
    ran: bool
    passes_done: int
    passes_cached: int
    seconds: float


class _Table(Facts):
    passes_done: int
    passes_cached: int
    seconds: float
    feature_rows: int
    stages: list[_Row]


def read_table(path: Path) -> dict[str, Any]:
    """Read the table.

    Raises
    ------
    CorruptFileError
        If it is damaged.
    """
    cure = "Remove it; `dvc repro --force --single-item evaluate` writes it again."
    return read_facts(path, _Table, cure)


def passes_table(entries: Mapping[str, Mapping[str, Any]], feature_rows: int) -> dict[str, Any]:
    """Return passes and seconds of every stage, from the run statistics of the stages.

    The rows are a list, which DVC's tables of metrics leave out: four numbers per stage would hide
    the totals.

    Parameters
    ----------
    entries : mapping of str to mapping
        By stage: ``seconds``, ``ended``, ``this_run``, and where it has any ``passes_done`` and
        ``passes_cached`` of the run in which it last ran.
    feature_rows : int
        Rows of the recorded features in use.

    Returns
    -------
    dict
        Totals and, under ``stages``, a row per stage, in the order in which they last ended. A
        stage that did not run in this run counts no pass and no second; the passes that it had
        recorded count as cached.
    """
    rows: dict[str, dict[str, Any]] = {}
    for stage, entry in entries.items():
        ran = bool(entry["this_run"])
        recorded = int(entry.get("passes_done", 0)) + int(entry.get("passes_cached", 0))
        done = int(entry.get("passes_done", 0)) if ran else 0
        rows[stage] = {
            "ran": ran,
            "passes_done": done,
            "passes_cached": (feature_rows if stage == EXTRACTION else recorded) - done,
            "seconds": float(entry["seconds"]) if ran else 0.0,
        }
    # Features from elsewhere (a pulled cache) leave no entry, and are cached passes all the same.
    rows.setdefault(
        EXTRACTION,
        {"ran": False, "passes_done": 0, "passes_cached": feature_rows, "seconds": 0.0},
    )
    order = sorted(rows, key=lambda stage: (entries.get(stage, {}).get("ended", 0.0), stage))
    return {
        "passes_done": sum(row["passes_done"] for row in rows.values()),
        "passes_cached": sum(row["passes_cached"] for row in rows.values()),
        "seconds": round(sum(row["seconds"] for row in rows.values()), 3),
        "stages": [{"stage": stage, **rows[stage]} for stage in order],
    }


def by_stage(table: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the rows of a table by the name of their stage, in its order."""
    return {row["stage"]: row for row in table["stages"]}
