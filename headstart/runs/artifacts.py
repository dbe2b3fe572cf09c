"""A run on Prefect's pages: scores, the table of passes, images, and progress.

No failure to publish stops a stage: an unreachable server is reported once and not asked again.
"""

from __future__ import annotations

import base64
import json
import math
import queue
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import Context, copy_context
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import httpx
from prefect.artifacts import (
    create_image_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from headstart.pipeline.graph import Stage
from headstart.runs.progress import Progress

Rows = list[dict[str, Any]]

_FILE_BYTES = 5_000_000  # of a table's file
_ROWS = 500
_IMAGE_BYTES = 1_000_000
_IMAGES = 24  # of one output: a folder with more is data, not a report
_PNG = b"\x89PNG\r\n\x1a\n"


class Board:
    """A publisher with a separate thread: no stage waits for a server that is slow or gone.

    Parameters
    ----------
    warn : callable
        Called with a sentence about the artifacts that could not be published.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self.warn = warn
        self._jobs: queue.SimpleQueue[tuple[Context, Callable[[], object]] | None]
        self._jobs = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._begin = threading.Lock()

    def stage(self, root: Path, stage: Stage) -> None:
        """Publish a stage's metrics as tables, and its images."""
        for path in stage.metrics:
            for name, rows in tables(root / path):
                self.table("-".join([stage.name, *name]), rows, f"`{path}` of {stage.name}")
        for image in images(root, stage):
            said = f"{image.relative_to(root).as_posix()} of {stage.name}"
            self.image(f"{stage.name}-{image.stem}", image, said)

    def notes(self, root: Path, paths: Sequence[str]) -> None:
        """Publish files about the run that are no stage's output."""
        for path in paths:
            for name, rows in tables(root / path):
                self.table("-".join([Path(path).stem, *name]), rows, f"`{path}`")

    def table(self, name: str, rows: Rows, says: str) -> None:
        """Publish a table."""
        shown = rows[:_ROWS]
        if len(rows) > len(shown):
            says = f"{says}: the first {len(shown):,} of {len(rows):,} rows"
        self._do(lambda: create_table_artifact(shown, key=key(name), description=says))

    def image(self, name: str, path: Path, says: str) -> None:
        """Publish an image inside of the artifact; a large one is only named."""
        content = path.read_bytes()[: _IMAGE_BYTES + 1]
        if not content.startswith(_PNG):
            return
        if len(content) > _IMAGE_BYTES:
            row = {"image": says, "bytes": path.stat().st_size}
            self.table(name, [row], f"{says} is too large to be shown here")
            return
        address = f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"
        self._do(lambda: create_image_artifact(address, key=key(name), description=says))

    def progress(self, stage: str) -> Callable[[Progress], None]:
        """Return a stage's progress bar, drawn when there is something to show."""
        made: list[UUID] = []
        latest: deque[Progress] = deque(maxlen=1)  # older ones are not worth drawing any more

        def draw() -> None:
            if not latest:
                return
            found = latest.pop()
            if made:
                update_progress_artifact(made[0], found.percent, found.what)
                return
            name = key(f"{stage}-progress")
            drawn = create_progress_artifact(found.percent, key=name, description=found.what)
            made.append(cast("UUID", drawn))

        def show(progress: Progress) -> None:
            latest.append(progress)
            self._do(draw)

        return show

    def close(self, seconds: float) -> None:
        """Publish the waiting artifacts, for at most this many seconds."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(seconds)

    def _do(self, publish: Callable[[], object]) -> None:
        with self._begin:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True)
                self._thread.start()
        # The context says which task it belongs to, and where the server is.
        self._jobs.put((copy_context(), publish))

    def _work(self) -> None:
        reached = True
        while (job := self._jobs.get()) is not None:
            context, publish = job
            if not reached:
                continue
            try:
                context.run(publish)
            except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on
                reached = not isinstance(error, httpx.TransportError | OSError)
                self.warn(
                    "Prefect's server did not accept the artifacts "
                    f"({type(error).__name__}: {str(error)[:200]}). The stages continue "
                    "without them."
                )


def key(name: str) -> str:
    """Return a name as an artifact's key: ``[a-z0-9-]``."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "artifact"


def tables(path: Path) -> Iterator[tuple[tuple[str, ...], Rows]]:
    """Yield the tables in a JSON file: one of its single values, and one per group of records.

    Yields
    ------
    tuple of str
        Where the records stand in the file; empty for the single values.
    list of dict
        Its rows. A file that is absent, no JSON, or larger than 5 MB has none.
    """
    try:
        if path.stat().st_size > _FILE_BYTES:
            return
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return
    if not isinstance(document, Mapping):
        return
    singles: Rows = []
    groups: list[tuple[tuple[str, ...], Rows]] = []
    _collect(document, (), singles, groups)
    if singles:
        yield (), singles
    yield from groups


def _collect(
    node: Mapping[str, Any],
    place: tuple[str, ...],
    singles: Rows,
    groups: list[tuple[tuple[str, ...], Rows]],
) -> None:
    """Sort what a mapping holds into single values and groups of records."""
    for name, value in node.items():
        here = (*place, str(name))
        rows = _records(value)
        if rows:
            groups.append((here, rows))
        elif isinstance(value, Mapping):
            _collect(value, here, singles, groups)
        elif not isinstance(value, list):
            singles.append({"name": ".".join(here), "value": _cell(value)})
        elif value and all(not isinstance(item, Mapping | list) for item in value):
            text = ", ".join(map(str, value[:50])) + (" …" if len(value) > 50 else "")
            singles.append({"name": ".".join(here), "value": text})


def _records(value: Any) -> Rows:
    """Return rows if it is a list of flat records, or a mapping to such; else none."""
    if isinstance(value, Mapping):
        named = [
            {"name": str(name), **row} for name, row in value.items() if isinstance(row, Mapping)
        ]
        rows = named if len(named) == len(value) else []
    else:
        rows = list(value) if isinstance(value, list) else []
    alike = [row for row in rows if isinstance(row, Mapping) and row.keys() == rows[0].keys()]
    flat = all(not isinstance(cell, Mapping | list) for row in alike for cell in row.values())
    if not flat or len(alike) < len(rows):
        return []
    return [{str(name): _cell(cell) for name, cell in row.items()} for row in alike]


def _cell(value: Any) -> Any:
    """Return a value; NaN and infinity, which are not JSON, as words."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def images(root: Path, stage: Stage) -> list[Path]:
    """Return the PNG files that a stage writes, alone or in a folder; no links."""
    found: list[Path] = []
    for name in stage.written:
        path = root / name
        inside = sorted(path.glob("*.png")) if path.is_dir() else [path]
        taken = [file for file in inside if file.suffix == ".png" and file.is_file()]
        if len(taken) <= _IMAGES:
            found += [file for file in taken if not file.is_symlink()]
    return found
