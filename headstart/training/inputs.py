"""Checks of what the training stages read: one run's images, classes and backbone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import HeadstartError
from headstart._utils.tables import plain
from headstart.backbones.record import BackboneRecord
from headstart.training.model_folder import ModelRecord
from headstart.training.parameters import TrainHeadParams

if TYPE_CHECKING:
    # Needs pandas, which a stage that passes the head through does not wait for.
    import pandas as pd

    from headstart.features.folder import Features


def check_classes(recorded: Features, params: TrainHeadParams) -> None:
    """Refuse classes that a head cannot learn; warn of those without images.

    Raises
    ------
    HeadstartError
        If there is only one class, or a single output for more than two.
    """
    classes = recorded.header.classes
    if len(classes) < 2:
        raise HeadstartError(
            f"There is only one class, {plain(classes[0])!r}: there is nothing to distinguish. "
            "Nothing was trained. Add images of a second class."
        )
    if params.outputs == "one" and len(classes) != 2:
        raise HeadstartError(
            f"`train_head.outputs: one` distinguishes two classes, and there are {len(classes)}. "
            "Nothing was trained. Set it to classes, or keep only two classes."
        )
    if recorded.header.backbone.random_weights:
        print("Note: the backbone has random weights. This head does not show transfer learning.")
    for split in ("train", "validation"):
        present = set(recorded.rows(split)["label"])
        missing = [name for name in classes if name not in present]
        if missing:
            shown = ", ".join(plain(name) for name in missing[:10])
            more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
            print(f"Warning: no {split} image of {shown}{more}.", flush=True)


def check_backbone(record: ModelRecord, backbone: BackboneRecord) -> None:
    """Refuse a head that was trained on another backbone than the one at hand.

    Raises
    ------
    HeadstartError
        Naming what differs.
    """
    ours, theirs = record.backbone.model_dump(), backbone.summary.model_dump()
    differing = [
        f"{name}: {ours[name]!r} and {theirs[name]!r}"
        for name in ours
        if ours[name] != theirs[name]
    ]
    if differing:
        raise HeadstartError(
            f"The head was trained on another backbone than this ({'; '.join(differing)}). "
            "Nothing was trained. Run the pipeline (`dvc repro`)."
        )


@dataclass(frozen=True)
class TuningImages:
    """The images to fine-tune on.

    Attributes
    ----------
    train, validation : DataFrame
        Rows of the manifest.
    features : Features
        Of the whole backbone, for the scores of the head alone.
    """

    train: pd.DataFrame
    validation: pd.DataFrame
    features: Features

    def labels(self, rows: pd.DataFrame) -> npt.NDArray[np.int32]:
        """Return the class index of each row."""
        return self.features.indices(rows)

    def groups(self, rows: pd.DataFrame) -> list[str]:
        """Return the split group of each row; an image without one is its own, with its copies."""
        pairs = zip(rows["group"], rows["image_id"], strict=True)
        return [f"group {group}" if group else f"image {name}" for group, name in pairs]


def read_tuning_images(manifest: Path, features: Path, record: ModelRecord) -> TuningImages:
    """Read the training and validation images, and check that all inputs are of one run.

    Raises
    ------
    HeadstartError
        If the features, the manifest and the head name different images or classes.
    """
    from headstart.datasets.manifests import class_names, read_split
    from headstart.features.folder import read_features

    rows = read_split(manifest)
    recorded = read_features(features)
    parts = {
        name: rows[rows["split"] == name].reset_index(drop=True) for name in ("train", "validation")
    }
    same = all(
        recorded.images(name)["image_id"].tolist() == part["image_id"].tolist()
        for name, part in parts.items()
    )
    if not same or tuple(class_names(rows)) != record.classes:
        raise HeadstartError(
            f"{manifest}, {features} and the head hold different images or classes: they come "
            "from different runs. Nothing was trained. Run the pipeline (`dvc repro`)."
        )
    return TuningImages(parts["train"], parts["validation"], recorded)
