"""Tell a project that has run in its folder from a clone that holds only what git keeps."""

from __future__ import annotations

import os
from pathlib import Path

from headstart.pipeline.recorded import records


def has_run(root: Path) -> bool:
    """Return whether any output that DVC caches is there.

    Metrics are no sign of a run: git keeps them, so that every clone has them.

    Parameters
    ----------
    root : Path
        The project's folder.

    Raises
    ------
    RecordError
        If DVC cannot read the project.
    """
    outputs = [out for record in records(root).values() for out in record.outs if out.cached]
    return any(os.path.lexists(root / out.path) for out in outputs)
