"""The cache folder outside of every project: features, downloads, locks, hashes."""

from __future__ import annotations

import os
from pathlib import Path

from headstart._utils.errors import HeadstartError


def cache_folder() -> Path:
    """Return ``$HEADSTART_CACHE``, or else the user's cache folder, as an absolute path.

    The folder is not created.

    Raises
    ------
    HeadstartError
        If the user has no home folder and the variable is not set.
    """
    given = os.environ.get("HEADSTART_CACHE")
    if not given:
        import platformdirs

        given = platformdirs.user_cache_dir("headstart")
    try:
        return Path(given).expanduser().absolute()
    except RuntimeError as error:
        raise HeadstartError(
            "This user has no home folder for locks and features. Nothing was run. Name a "
            "folder in the environment variable HEADSTART_CACHE; then run again."
        ) from error


def made_cache_folder(name: str) -> Path:
    """Return a folder inside :func:`cache_folder`, created if it is absent.

    Raises
    ------
    HeadstartError
        If it cannot be created; or as :func:`cache_folder`.
    """
    folder = cache_folder() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HeadstartError(
            f"The folder {folder} cannot be created: {error.strerror}. Name another cache folder "
            "in the environment variable HEADSTART_CACHE."
        ) from error
    return folder
