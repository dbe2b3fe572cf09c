"""The table of passes: what this run sent through a frozen base, and what it did not have to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headstart._utils.files import read_json, write_json
from headstart.stage.run_statistics import Journal

EXTRACTION = "extract_features"
TABLE = "runtime.json"


def write_table(journal: Journal, feature_rows: int) -> dict[str, Any]:
    """Write what is noted of this stage, then the table of all stages; return the table.

    Parameters
    ----------
    journal : Journal
        Of the stage that is running.
    feature_rows : int
        Rows of the recorded features in use.
    """
    journal.write()  # So that the table has this stage's row.
    table = {**passes_table(journal.others(), feature_rows), "feature_rows": feature_rows}
    write_json(journal.folder / TABLE, table)
    return table


def refresh_table(journal: Journal) -> None:
    """Bring the table that an earlier stage wrote up to this stage."""
    path = journal.folder / TABLE
    if path.exists():
        write_table(journal, int(read_json(path)["feature_rows"]))


def passes_table(entries: Mapping[str, Mapping[str, Any]], feature_rows: int) -> dict[str, Any]:
    """Passes and seconds of every stage now, from what the stages left in the journal.

    The rows are a list, which DVC's tables of metrics leave out: four numbers a stage would hide
    the totals.

    Parameters
    ----------
    entries : mapping of str to mapping
        By stage: ``seconds``, ``this_run``, and where it has any ``passes_done`` and
        ``passes_avoided`` of the run in which it last ran.
    feature_rows : int
        Rows of the recorded features in use.

    Returns
    -------
    dict
        Totals and, under ``stages``, a row a stage by name. A stage that did not run in this run
        counts no pass and no second; what it had recorded counts as avoided.
    """
    rows: dict[str, dict[str, Any]] = {}
    for stage, entry in entries.items():
        ran = bool(entry["this_run"])
        recorded = int(entry.get("passes_done", 0)) + int(entry.get("passes_avoided", 0))
        done = int(entry.get("passes_done", 0)) if ran else 0
        rows[stage] = {
            "ran": ran,
            "passes_done": done,
            "passes_avoided": (feature_rows if stage == EXTRACTION else recorded) - done,
            "seconds": float(entry["seconds"]) if ran else 0.0,
        }
    # Features from elsewhere (a pulled cache) leave no entry, and are avoided passes all the same.
    rows.setdefault(
        EXTRACTION,
        {"ran": False, "passes_done": 0, "passes_avoided": feature_rows, "seconds": 0.0},
    )
    return {
        "passes_done": sum(row["passes_done"] for row in rows.values()),
        "passes_avoided": sum(row["passes_avoided"] for row in rows.values()),
        "seconds": round(sum(row["seconds"] for row in rows.values()), 3),
        "stages": [{"stage": stage, **rows[stage]} for stage in sorted(rows)],
    }


def by_stage(table: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The rows of a table by the name of their stage."""
    return {row["stage"]: row for row in table["stages"]}
