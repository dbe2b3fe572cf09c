"""The sections of the page on the run's cost and on the exported files, as plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from headstart._utils.records import Facts, read_facts
from headstart.evaluation.passes import by_stage

_DIFFERENCE = "probability_differs_at_most"


def cost(
    table: Mapping[str, Any], seconds_per_pass: float | None, cores: int, watts: float
) -> dict[str, Any]:
    """Return passes and seconds of the latest run, and the estimated energy of a second.

    Parameters
    ----------
    table : mapping
        ``data/run_statistics/runtime.json``.
    seconds_per_pass : float or None
        Wall-clock seconds per pass when passes were last made; None if that is not known.
    cores : int
        Assumed to be busy all of the time.
    watts : float
        Assumed power of a busy core.
    """
    saved = 0.0 if seconds_per_pass is None else seconds_per_pass * table["passes_cached"]
    return {
        "rows": list(by_stage(table).values()),
        "total": table,
        "saved": saved,
        "cores": cores,
        "watts": watts,
        "wh_per_second": cores * watts / 3600,
    }


class _Exported(Facts):
    formats: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    images: Annotated[int, Field(ge=0)]
    refused: Annotated[int, Field(ge=0)]


def exported(folder: Path, file: Path) -> dict[str, Any]:
    """Return the exported files with their sizes, and every recorded comparison of them.

    Parameters
    ----------
    folder : Path
        ``data/export``.
    file : Path
        ``data/metrics/export.json``. Every entry that holds a bound of a difference is a
        comparison, however deep it is: a new export format needs no change here.

    Raises
    ------
    CorruptFileError
        If it names no export format.
    """
    again = "`dvc repro --force --single-item export` writes it again."
    metrics = read_facts(file, _Exported, again)
    return {
        "files": files_of(folder),
        "comparisons": list(_comparisons(metrics, ())),
        "images": metrics["images"],
        "refused": metrics["refused"],
    }


def files_of(folder: Path) -> list[dict[str, Any]]:
    """Return ``name`` and ``bytes`` of the entries of the export folder; folders end with ``/``."""
    files = []
    for path in sorted(folder.iterdir()):
        inside = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
        name = path.name + ("/" if path.is_dir() else "")
        files.append({"name": name, "bytes": sum(file.stat().st_size for file in inside)})
    return files


def _comparisons(node: Mapping[str, Any], place: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    if _DIFFERENCE in node:
        yield {
            "name": " · ".join(part for part in place if part != "formats").replace("_", " "),
            "difference": node[_DIFFERENCE],
            "same": node.get("same_first_guess"),
            "share": node.get("same_first_guess_share"),
        }
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _comparisons(value, (*place, key))
