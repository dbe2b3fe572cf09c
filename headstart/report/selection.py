"""Select images of a manifest to look at: some by seed, or one by its name."""

from __future__ import annotations

import difflib
from typing import Any

import pandas as pd

from headstart._utils.errors import HeadstartError
from headstart._utils.seeds import uniform
from headstart._utils.tables import plain

_LEAST_ID = 6  # characters of an image_id that is abbreviated


def select_by_seed(manifest: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """Return ``count`` rows; the seed selects them, and the order of the manifest does not."""
    places = [uniform(seed, "show", image_id) for image_id in manifest["image_id"]]
    return manifest.assign(place=places).sort_values("place").head(count)


def find_image(manifest: pd.DataFrame, name: str) -> dict[str, Any]:
    """Return the row of one image.

    Parameters
    ----------
    manifest : DataFrame
    name : str
        Its path, the end of its path, or the beginning of its ``image_id``.

    Raises
    ------
    HeadstartError
        If no image, or several different ones, have this name.
    """
    exact = manifest["path"] == name
    ends = manifest["path"].str.endswith(f"/{name.removeprefix('/')}")
    begins = manifest["image_id"].str.startswith(name) & (len(name) >= _LEAST_ID)
    rows = next((manifest[each] for each in (exact, ends, begins) if each.any()), manifest[:0])
    if rows.empty:
        near = difflib.get_close_matches(name, manifest["path"], n=3, cutoff=0.5)
        hint = f" Did you mean {', '.join(map(plain, near))}?" if near else ""
        raise HeadstartError(f"No image's path ends with {name!r}.{hint}")
    if (rows["image_id"] == rows["image_id"].iloc[0]).all():
        return {str(key): value for key, value in rows.iloc[0].items()}
    paths = ", ".join(plain(path) for path in rows["path"].head(5))
    raise HeadstartError(
        f"{len(rows):,} images end with {name!r}: {paths}{', …' * (len(rows) > 5)}. Name one of "
        "them by its full path."
    )
