"""The flows of the current project by name: its ``flows/NAME.py`` holds a flow NAME."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from headstart._utils.errors import HeadstartError


def project_flow(root: Path, name: str) -> Any:
    """Load a project's flow from its file, as Prefect's workers do, and not as a package's module.

    So it is the project's own wherever the library is installed, and whatever else is installed
    under the name ``flows``. A flow may import modules of its project: the folder ends up last on
    Python's path, where it cannot stand in for an installed package.

    Parameters
    ----------
    root : Path
        The project's folder.
    name : str
        Of the file and of the flow in it.

    Raises
    ------
    HeadstartError
        If the project has no such flow, or its file cannot be run.
    """
    from prefect.exceptions import MissingFlowError, ScriptError
    from prefect.flows import load_flow_from_entrypoint

    file = root / "flows" / f"{name}.py"
    if not file.is_file():
        raise HeadstartError(
            f"{root} has no flows/{name}.py, which holds the Prefect flow `{name}`. Nothing was "
            "run. Run from the project's folder; `headstart init --upgrade` brings back a lost "
            "flow, and `dvc repro` needs none."
        )
    path = list(sys.path)
    try:
        return load_flow_from_entrypoint(f"{file}:{name}", use_placeholder_flow=False)
    except (MissingFlowError, ScriptError) as error:
        cause = getattr(error, "user_exc", None) or error
        raise HeadstartError(
            f"The flow `{name}` in {file} cannot be loaded: {type(cause).__name__}: {cause}. "
            "Nothing was run. Correct the file, then run again."
        ) from error
    finally:
        sys.path[:] = path if str(root) in path else [*path, str(root)]  # Prefect puts it first
