"""New image files beside those of the run: both are read one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from headstart._utils.contents import Contents
from headstart.audit.vectors import Float64
from headstart.datasets.shards import ShardReader
from headstart.images.decode import Limits
from headstart.incoming.alike import Images, Verdict, held_out, judge, require_enough
from headstart.incoming.images import NewImages
from headstart.incoming.known import KnownImages


def judge_files(
    run: KnownImages, manifest: pd.DataFrame, duplicates: Mapping[str, str], shards: Path,
    new: NewImages, limits: Limits, seed: int,
) -> tuple[Verdict, Float64, Float64]:  # fmt: skip
    """Compare new images with the validation and test images of a run.

    Parameters
    ----------
    run : KnownImages
    manifest : DataFrame
        The sample manifest.
    duplicates : mapping of str to str
        Group of near duplicates by image id.
    shards : Path
        Folder of the images of the run.
    new : NewImages
    limits : Limits
        Of the files.
    seed : int

    Returns
    -------
    verdict, known_distances, new_distances
        See :func:`headstart.incoming.alike.judge`.

    Raises
    ------
    HeadstartError
        If there are too few images.
    """
    rows, features = held_out(run, manifest, duplicates, seed)
    require_enough(len(new.inputs), len(rows))
    with ShardReader(shards) as reader:
        places = rows[["shard", "offset", "bytes", "image_id"]].itertuples(index=False)
        known = Images(features, Contents([(reader.read, place) for place in places]))
        return judge(run, known, Images(new.features, new.files(limits)), seed)
