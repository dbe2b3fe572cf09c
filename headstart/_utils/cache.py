"""The folder outside of every project: recorded features, downloads, locks."""

from __future__ import annotations

import os
from pathlib import Path

from headstart._utils.errors import HeadstartError


def cache_folder() -> Path:
    """``$HEADSTART_CACHE``, else the user's cache folder; absolute, and not made here.

    Raises
    ------
    HeadstartError
        If the user has no home folder and the variable names none.
    """
    given = os.environ.get("HEADSTART_CACHE")
    if not given:
        import platformdirs

        given = platformdirs.user_cache_dir("headstart")
    try:
        return Path(given).expanduser().absolute()
    except RuntimeError as error:
        raise HeadstartError(
            "This user has no home folder to keep locks and features in. Nothing was run. Name a "
            "folder in the environment variable HEADSTART_CACHE; then run again."
        ) from error
