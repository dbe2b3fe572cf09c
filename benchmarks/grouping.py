"""Accuracy with near duplicates on one side of the split, and with them on both.

    python -m benchmarks.grouping cats-dogs.zip alien-vs-predator.zip fruits360-10.zip

First the images are split by their content, once with the groups of near duplicates held together
and once without, for each seed. Then, if the archive is already divided, its own splits are kept:
the table shows the accuracy on all its test images, on those without a near duplicate in the other
splits, and with `split.duplicates: train`, which moves the others to train. The pipeline's head is
trained on the features of the shipped small backbone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import typer

import headstart as hs
from benchmarks.duplicates import read, thumbnails
from headstart._utils.files import sha256_bytes
from headstart.audit.duplicates import find_pairs, join
from headstart.datasets.parameters import SplitParams
from headstart.datasets.splits import split

SPLITS = {"train": "train", "training": "train", "validation": "test", "test": "test"}


def main(archives: list[Path], seeds: str = "42 43 44", similarity: float = 0.9) -> None:
    """Print a table per archive."""
    for archive in archives:
        names, contents = read(archive, -1)
        images = table(names, contents)
        pairs = find_pairs(thumbnails(contents), similarity)
        ids = images["image_id"].to_numpy()
        groups = join(zip(ids[pairs.first], ids[pairs.second], strict=True))
        features = hs.FeatureExtractor().transform(contents)
        print(
            f"{archive.stem}: {len(images):,} images, {len(set(groups.values())):,} groups with "
            f"{len(groups):,} images", flush=True,
        )  # fmt: skip
        numbers = [int(seed) for seed in seeds.split()]
        for title, duplicates in (("held together", "together"), ("ignored", "ignore")):
            found = [by_content(images, features, groups, duplicates, seed) for seed in numbers]
            show(f"split by content, near duplicates {title}", found)
        if (images["predefined_split"] == "test").any():
            predefined(images, features, groups, numbers)


def table(names: list[str], contents: list[bytes]) -> pd.DataFrame:
    """Return the columns of an image manifest that a split looks at."""
    paths = [PurePosixPath(name) for name in names]
    splits = [
        next((SPLITS[p.lower()] for p in path.parts if p.lower() in SPLITS), "") for path in paths
    ]
    return pd.DataFrame(
        {
            "image_id": [sha256_bytes(content) for content in contents],
            "path": names,
            "label": [path.parent.name for path in paths],
            "predefined_split": splits,
            "group": "",
        }
    )


def assigned(
    images: pd.DataFrame, groups: Mapping[str, str], predefined: str, duplicates: str, seed: int
) -> npt.NDArray[Any]:
    """Return the split of each image."""
    values = {"predefined": predefined, "duplicates": duplicates}
    params = SplitParams.model_validate({"validation": 0.1, "test": 0.2, **values})
    return split(images, params, seed, groups).manifest["split"].to_numpy()


def by_content(
    images: pd.DataFrame, features: Any, groups: Mapping[str, str], duplicates: str, seed: int
) -> tuple[float, int, int]:
    """Return accuracy, test images, and those of them with a near duplicate outside of test."""
    parts = assigned(images, groups, "ignore", duplicates, seed)
    right = correct(images, features, parts, seed)
    return right.mean(), len(right), int(leaking(images, parts, groups).sum())


def predefined(
    images: pd.DataFrame, features: Any, groups: Mapping[str, str], seeds: list[int]
) -> None:
    """Print the accuracies on the archive's own test images."""
    rows: dict[str, list[tuple[float, int, int]]] = {}
    for seed in seeds:
        parts = assigned(images, groups, "keep", "together", seed)
        right, leaks = correct(images, features, parts, seed), leaking(images, parts, groups)
        moved = assigned(images, groups, "keep", "train", seed)
        after = correct(images, features, moved, seed)
        for title, found, count in (
            ("its own splits", right, leaks.sum()),
            ("its own splits, without these images", right[~leaks], 0),
            (
                "its own splits, near duplicates moved to train",
                after,
                leaking(images, moved, groups).sum(),
            ),
        ):
            rows.setdefault(title, []).append((found.mean(), len(found), int(count)))
    for title, row in rows.items():
        show(title, row)


def leaking(images: pd.DataFrame, parts: Any, groups: Mapping[str, str]) -> npt.NDArray[np.bool_]:
    """Return which test images have a near duplicate in another split."""
    group = images["image_id"].map(groups).to_numpy()
    outside = {each for each in group[parts != "test"] if isinstance(each, str)}
    return np.array([each in outside for each in group[parts == "test"]])


def correct(images: pd.DataFrame, features: Any, parts: Any, seed: int) -> npt.NDArray[np.bool_]:
    """Train a head on the images outside of test; return which test images it gets right."""
    labels, test = images["label"].to_numpy(), parts == "test"
    head = hs.HeadClassifier(random_state=seed).fit(features[~test], labels[~test])
    return np.asarray(head.predict(features[test]) == labels[test])


def show(title: str, rows: list[tuple[float, int, int]]) -> None:
    """Print a row of the table."""
    accuracy, count, leaks = np.array(rows).T
    print(
        f"  {title:50} {accuracy.mean():.4f} ({accuracy.min():.4f} to {accuracy.max():.4f}), "
        f"{count.mean():,.0f} test images, {leaks.mean():,.0f} with a near duplicate outside",
        flush=True,
    )


if __name__ == "__main__":
    typer.run(main)
