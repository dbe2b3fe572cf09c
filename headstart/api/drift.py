"""New images compared with those of a run, as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from headstart._utils.errors import HeadstartError
from headstart.api.images import LIMITS, RejectedImagesError
from headstart.datasets.duplicates import read_groups
from headstart.datasets.manifests import REJECTED, frame, read_images, read_split
from headstart.incoming.alike import Verdict
from headstart.incoming.files import judge_files
from headstart.incoming.images import new_images
from headstart.incoming.known import open_known
from headstart.serving.inputs import expand

if TYPE_CHECKING:
    from pathlib import Path

    from headstart._utils.errors import ImageError
    from headstart.serving.inputs import Input


def compared(there: Callable[[str, str], Path], images: Sequence[str], seed: int) -> pd.DataFrame:
    """Return the table of :meth:`headstart.api.run.Run.drift`.

    Parameters
    ----------
    there : callable
        Returns the path of a stage's option.
    images : sequence of str
    seed : int
    """
    known = open_known(
        there("fine_tune", "features"),
        there("fine_tune", "backbone_folder"),
        there("fine_tune", "head"),
        there("evaluate", "model"),
    )
    rejected: list[dict[str, str]] = []

    def reject(one: Input, fault: ImageError) -> None:
        rejected.append({"path": one.name, "reason": fault.reason, "detail": fault.detail})

    inputs = expand(images).inputs
    remote = [one.name for one in inputs if one.remote]
    if remote:
        raise HeadstartError(
            f"Expected files and folders of this machine, got the address {remote[0]}. Nothing was "
            "read. Download the images first."
        )
    ids = frozenset(read_images(there("download", "manifest"))["image_id"])
    new = new_images(inputs, known, LIMITS, reject, ids)
    if rejected:
        raise RejectedImagesError(frame(rejected, REJECTED), len(inputs))
    manifest = read_split(there("evaluate", "manifest"))
    groups = read_groups(there("find_duplicates", "groups"))
    shards = there("evaluate", "images")
    verdict, _, _ = judge_files(known, manifest, groups, shards, new, LIMITS, seed)
    return _table(verdict)


def _table(verdict: Verdict) -> pd.DataFrame:
    rows = {"any": (verdict.p, float("nan"), float("nan"))}
    if verdict.classifier is not None:
        rows["classifier"] = (verdict.classifier.p, verdict.classifier.auroc, 0.5)
    if verdict.kernel_p is not None:
        rows["kernel"] = (verdict.kernel_p, float("nan"), float("nan"))
    rows |= {each.name: (each.p, each.new, each.known) for each in verdict.differences}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["p", "new", "run"])
    return table.rename_axis("test")
