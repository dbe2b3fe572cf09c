"""The files of a run that new images are compared with: its features, its backbone and its head."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import HeadstartError
from headstart._utils.seeds import derive
from headstart.backbones.record import BackboneRecord, read_backbone
from headstart.features.extraction import open_store
from headstart.features.folder import Features, read_features
from headstart.features.forward_passes import Engine
from headstart.features.store import FeatureStore
from headstart.keras.networks.engine import engine as running
from headstart.training.head import apply_head
from headstart.training.model_folder import ModelRecord, read_head, read_model

#: Training images that new ones are compared with.
MOST = 5000
#: Parts of a fingerprint that may differ: they change the last bits of a feature and no more.
_BITS_ONLY = frozenset({"engine", "engine_versions", "machine", "device", "batch", "op_determinism",
                        "network_sha256"})  # fmt: skip


@dataclass(frozen=True)
class KnownImages:
    """A run's features, and what is needed to compute those of new images.

    Attributes
    ----------
    features : Features
    folder : Path
        Of the backbone.
    backbone : BackboneRecord
    head : Path
        Folder of the head.
    record : ModelRecord
        Of the head.
    fine_tuned : bool
        The final model is another one: its backbone was fine-tuned.
    """

    features: Features
    folder: Path
    backbone: BackboneRecord
    head: Path
    record: ModelRecord
    fine_tuned: bool

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, in the order of the probabilities."""
        return self.record.classes

    @cached_property
    def engine(self) -> Engine:
        """The engine that runs the backbone."""
        return running(self.folder, self.backbone)

    def store(self) -> FeatureStore:
        """Open the feature store, the one that the pipeline fills for this backbone.

        Raises
        ------
        HeadstartError
            If the features of the run come from another backbone.
        """
        store = open_store(self.backbone, self.engine)
        theirs = self.features.header.fingerprint_record
        differing = sorted(
            key
            for key in (set(store.record) | set(theirs)) - _BITS_ONLY
            if store.record.get(key) != theirs.get(key)
        )
        if differing:
            store.close()
            raise HeadstartError(
                f"{self.features.folder} was computed by another backbone than {self.folder}: "
                f"{', '.join(differing)} differ. No image was read. `dvc repro` makes them match."
            )
        return store

    def probabilities(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the head's probabilities, of shape (n, n_classes)."""
        return apply_head(self.record.head, read_head(self.head, self.record), features)

    def training(self, seed: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Return training images, all or :data:`MOST` that are drawn: features and class indices.

        Returns
        -------
        features : ndarray of shape (n, *feature_shape), float32
        labels : ndarray of shape (n,), int64
        """
        images = self.features.images("train")
        rows = np.arange(len(images))
        if len(rows) > MOST:
            random = np.random.Generator(np.random.Philox(key=derive(seed, "incoming", "train")))
            rows = np.sort(random.choice(len(rows), MOST, replace=False))
        labels = self.features.indices(images.iloc[rows]).astype(np.int64)
        return np.asarray(self.features.array("train")[rows], np.float32), labels


def open_known(features: Path, backbone: Path, head: Path, final: Path) -> KnownImages:
    """Open the files of a run, after a check that they belong together.

    Parameters
    ----------
    features, backbone, head, final : Path
        Folders of the pipeline: of the features, the backbone, the head alone, the final model.

    Raises
    ------
    HeadstartError
        If they come from different runs.
    CorruptFileError
        If a file is damaged.
    """
    found = read_features(features)
    model = read_model(final)
    tuned = model.kind != "head"
    folder, record = (head, read_model(head)) if tuned else (final, model)
    ours = (found.header.classes, found.header.backbone, found.header.feature_shape)
    if ours != (record.classes, record.backbone, record.feature_shape):
        raise HeadstartError(
            f"{folder} was trained on other features than those in {features}: they come from "
            "different runs. No image was read. `dvc repro` makes them match."
        )
    return KnownImages(found, backbone, read_backbone(backbone), folder, record, tuned)
