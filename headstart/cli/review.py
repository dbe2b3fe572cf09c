"""`headstart review`: look at what a run found, and write corrections."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headstart._utils.errors import HeadstartError
from headstart._utils.extras import needs_extra
from headstart.cli.front import StageFiles, command

if TYPE_CHECKING:
    from headstart.review.findings import Files

_HOST = "127.0.0.1"


@command(
    epilog="Example: headstart review, then open http://127.0.0.1:8502; afterwards `git diff "
    "data/corrections.csv` and `dvc repro`",
    needs="project",
)
def review(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free one.")
    ] = 8502,
) -> None:
    """Correct labels, duplicates and mistakes on a local page.

    It shows near duplicates, label issues, the worst mistakes and rejected files. Keys: k keep, r
    relabel, x remove, s same object, u undo, arrows to move, 1 and 2 to choose an image of a pair.
    Each decision is written to data/corrections.csv at once, and the next `dvc repro` applies it.
    Only this machine can reach the page. Ctrl-C stops it.
    """
    from importlib.util import find_spec

    if find_spec("uvicorn") is None:
        message = needs_extra("`headstart review`", "serving", "uvicorn")
        raise HeadstartError(f"{message} Nothing was started.")
    stages = StageFiles(Path.cwd())
    files = _files(stages)
    if not files.manifest.exists():
        raise HeadstartError(
            f"There is no {files.manifest} yet, so there is nothing to review. Run `dvc repro` "
            "first."
        )

    from headstart.review.app import Review, build
    from headstart.review.decisions import Decisions
    from headstart.review.findings import queues, read_known
    from headstart.serving.server import serve

    known = read_known(files)
    decisions = Decisions(stages("split", "corrections"), known)
    decisions.read()  # A faulty file is reported now.
    found = queues(files, known)
    lines = [f"  {queue.title.lower():<16}{len(queue.findings):>7,}" for queue in found]
    serve(build(Review(files, known, found, decisions)), _HOST, port, lines)


def _files(stages: StageFiles) -> Files:
    from headstart.review.findings import Files

    return Files(
        manifest=stages("download", "manifest"),
        shards=stages("download", "images"),
        split=stages("split", "manifest"),
        pairs=stages("find_duplicates", "pairs"),
        issues=stages("audit", "label_issues"),
        predictions=stages("evaluate", "predictions"),
        evaluation=stages("evaluate", "metrics"),
        rejected=stages("download", "rejected"),
        rejected_images=stages("download", "rejected_images"),
    )
