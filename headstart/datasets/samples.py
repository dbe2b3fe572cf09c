"""A seeded subset of train and validation, copied into folders by class.

The images of a class are ordered by a hash of seed and content; a sample of N is the first N.
Thus samples are nested (100 are among 500), and adding an image changes one position at most. The
test split stays complete, so that results with different samples are comparable.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from headstart._utils import seeds, tables
from headstart._utils.faults import reached
from headstart._utils.progress import progress
from headstart.datasets.manifests import class_names
from headstart.datasets.parameters import SampleParams
from headstart.datasets.shards import ShardReader
from headstart.images.formats import EXTENSIONS

_NOTHING_COPIED = (
    "All images are used, and none is copied here: `sample.train_per_class` and\n"
    "`sample.validation_per_class` of params.yaml are null.\n"
)
_PLACE = ("file", "shard", "offset", "bytes", "image_id")
# Names that Windows gives to devices, with any extension.
_PORTS = {f"{port}{number}" for port in ("com", "lpt") for number in "123456789"}
_DEVICES = {"con", "prn", "aux", "nul"} | _PORTS


def draw(manifest: pd.DataFrame, params: SampleParams, seed: int) -> pd.DataFrame:
    """Return the rows of the sample, in the order of ``manifest``.

    Parameters
    ----------
    manifest : DataFrame
        Split manifest.
    params : SampleParams
        Different images per class for train and validation. An image with byte-identical copies
        in its class counts once, by its first path. ``None`` leaves a split as it is.
    seed : int

    Returns
    -------
    DataFrame
        Same columns; test rows complete.
    """
    chosen = manifest["split"] == "test"
    for name, most in limits(params).items():
        rows = manifest[manifest["split"] == name]
        if most is not None:
            rows = _first(rows, most, seed)
        chosen |= manifest.index.isin(rows.index)
    return manifest[chosen].reset_index(drop=True)


def _first(rows: pd.DataFrame, most: int, seed: int) -> pd.DataFrame:
    single = rows.sort_values("path").drop_duplicates(["label", "image_id"])
    places = [seeds.uniform(seed, "sample", image_id) for image_id in single["image_id"]]
    ordered = single.assign(place=places).sort_values(["place", "image_id"])
    return ordered.groupby("label").head(most)


def limits(params: SampleParams) -> dict[str, int | None]:
    """Return the number of images per class for each split that is sampled."""
    return {"train": params.train_per_class, "validation": params.validation_per_class}


def folder_names(labels: Sequence[str]) -> dict[str, str]:
    """Return the name of the folder of each class: the class itself if every file system takes it.

    Class names are untrusted. A name that could leave the folder, hide, or equal another one
    where case does not matter, is spelled with harmless characters and eight digits of its hash.
    """
    folded = Counter(_fold(name) for label in labels for name in (label, _spelled(label)))
    return {
        label: label if _harmless(label) and folded[_fold(label)] == 1 else _spelled(label)
        for label in labels
    }


def _fold(label: str) -> str:
    return unicodedata.normalize("NFC", label).casefold()


def _harmless(label: str) -> bool:
    return (
        label.isprintable()
        and len(label.encode("utf-8", "surrogatepass")) <= 200
        and not set(label) & set('/\\:*?"<>|')
        and label.strip(" .") == label != ""
        and label.partition(".")[0].casefold() not in _DEVICES
    )


def _spelled(label: str) -> str:
    digits = hashlib.sha256(label.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    kept = "".join(sign if sign.isascii() and sign.isalnum() else "_" for sign in label[:40])
    return f"{kept}-{digits}"


def files(manifest: pd.DataFrame, params: SampleParams) -> pd.DataFrame:
    """Return the files of the sample's folder: rows of train and validation with a column ``file``.

    ``file`` is relative, ``SPLIT/CLASS/NAME``, and unique. Empty if nothing is to be copied.
    """
    wanted = manifest["split"].isin(["train", "validation"])
    if all(most is None for most in limits(params).values()):
        wanted &= False
    rows = manifest[wanted].drop_duplicates(["split", "label", "image_id"])
    folders = folder_names(class_names(manifest))
    short = rows["image_id"].str[:16]
    # Sixteen digits are enough unless somebody searched for images that share them.
    clash = rows.assign(short=short).duplicated(["split", "label", "short"], keep=False)
    names = short.where(~clash, rows["image_id"])
    suffixes = rows["format"].map(EXTENSIONS)
    return rows.assign(
        file=rows["split"] + "/" + rows["label"].map(folders) + "/" + names + "." + suffixes
    )


def copy(rows: pd.DataFrame, images: Path, folder: Path) -> None:
    """Write the images of :func:`files`, in the order in which the shards hold them.

    Without images, a note is written: of an empty folder, every command of DVC would warn.
    """
    if rows.empty:
        (folder / "README.md").write_text(_NOTHING_COPIED, encoding="utf-8")
    places = rows.sort_values(["shard", "offset"])[list(_PLACE)].itertuples(index=False)
    with ShardReader(images) as reader, progress(len(rows), "Copying", "image") as bar:
        for file, shard, offset, length, image_id in places:
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            reached("member", target)
            target.write_bytes(reader.read(shard, offset, length, image_id))
            bar.update()


def report(whole: pd.DataFrame, sampled: pd.DataFrame, params: SampleParams, folder: str) -> str:
    """Return the sample for a terminal: counts per folder, and classes that fell short."""
    copied = files(sampled, params)
    if copied.empty:
        return f"All {len(whole):,} images are used and none is copied: the sample has no limits."
    rows = [(folder, "")]
    for name, of_split in copied.groupby("split"):
        rows.append((f"  {name}", f"{len(of_split):,}"))
        of_class = Counter(path.split("/")[1] for path in of_split["file"])
        rows += [(f"    {title}", f"{count:,}") for title, count in sorted(of_class.items())]
    return "\n".join([tables.columns(rows, "lr"), *_short(sampled, params)])


def _short(sampled: pd.DataFrame, params: SampleParams) -> list[str]:
    """Return a line for each class with fewer images than the parameters say."""
    lines = []
    for name, most in limits(params).items():
        counts = Counter(sampled.loc[sampled["split"] == name, "label"])
        lines += [
            f"{name}: {tables.plain(label)} has only {count:,} of {most:,}; all are used."
            for label, count in sorted(counts.items())
            if most is not None and count < most
        ]
    return lines
