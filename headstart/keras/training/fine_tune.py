"""The top of the backbone, or one layer, trained with the head; kept only if validation improves.

Starts from the trained head. Without augmentation the epochs run on recorded activations of the
frozen part, so that each image passes through it once, ever. The result is compared with the
head-only model on the validation split, both computed the same way, and the better one goes on:
the higher accuracy, or with equal accuracy the lower loss. `epochs: 0` passes the head through.
A backbone that LiteRT cannot run cannot be fine-tuned, with `engine: keras` either.
"""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart._utils.errors import HeadstartError
from headstart._utils.files import atomic_folder, write_bytes
from headstart.stage.run_statistics import RunStatistics
from headstart.training.model_folder import (
    BACKBONE_WEIGHTS,
    LOWER,
    UPPER,
    ModelRecord,
    Scores,
    write_model,
)
from headstart.training.parameters import FineTuneParams
from headstart.training.scores import improves, reason, score

if TYPE_CHECKING:
    import pandas as pd

    from headstart.backbones.record import BackboneRecord
    from headstart.backbones.weights import Weights
    from headstart.datasets.shards import ShardReader
    from headstart.features.folder import Features
    from headstart.keras.training.fine_tuning import Tuner
    from headstart.training.history import History

#: Largest difference of a probability between the Keras model and what is written.
TOLERANCE = 1e-4
_COMPARED = 64
OFF = "fine-tuning is off (epochs: 0)"


@dataclass(frozen=True)
class Images:
    """Rows of the manifest to train and validate on, their class indices, and head-only scores."""

    train: pd.DataFrame
    validation: pd.DataFrame
    classes: tuple[str, ...]
    features: Features

    def labels(self, rows: pd.DataFrame) -> Any:
        """Class index of each row."""
        index = {name: number for number, name in enumerate(self.classes)}
        return np.array([index[label] for label in rows["label"]], np.int32)


def read_images(manifest: Path, features: Path, record: ModelRecord) -> Images:
    """The training and validation images, after a check that all inputs speak of the same ones.

    Raises
    ------
    HeadstartError
        If the recorded features, the manifest and the head are not of one run.
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
            f"{manifest}, {features} and the head do not speak of the same images and classes: "
            "they come from different runs. Nothing was trained. Run the pipeline (`dvc repro`)."
        )
    return Images(parts["train"], parts["validation"], record.classes, recorded)


def keep_head(model: Path, record: ModelRecord, weights: Weights, why: str) -> None:
    """Write the head alone as the final model."""
    with atomic_folder(model) as folder:
        write_model(folder, record.model_copy(update={"chosen_because": why}), weights)


@dataclass(frozen=True)
class Run:
    """One fine-tuning, from the trained head to the files of the model folder."""

    record: ModelRecord
    weights: Weights
    images: Images
    reader: ShardReader
    params: FineTuneParams
    seed: int
    folder: Path
    run_statistics: RunStatistics

    def __call__(self, backbone_folder: Path, threads: int) -> History:
        """Train, compare what was converted with Keras, write the better model."""
        from headstart.backbones.record import read_backbone

        backbone = read_backbone(backbone_folder)
        same_backbone(self.record, backbone)
        from headstart.keras.runtime import configure  # isort: skip - before anything else of TensorFlow
        from headstart.keras.training.fine_tuning import Tuner

        configure(threads, self.seed)
        tuner = Tuner(
            backbone, backbone_folder, self.params, self.record.head, self.weights, self.seed
        )
        print(tuner.describe(), flush=True)
        work = self.folder / ".work"
        work.mkdir()
        history, validation = self._train(tuner, backbone.image_size, work)
        write_bytes(self.folder / UPPER, tuner.upper_network())
        tuned = self._checked(tuner, validation)
        shutil.rmtree(work)
        self._write(tuner, tuned, history)
        return history

    def _train(self, tuner: Tuner, size: int, work: Path) -> tuple[History, Any]:
        """The history, and what the trained part reads of the validation images."""
        from headstart.keras.training.batches import BatchSource
        from headstart.training.activations import arrays
        from headstart.training.views import Views

        images, augment = self.images, self.params.augment
        tuner.check_convertible()
        network = tuner.lower_network()
        lower = None if network is None else self.folder / LOWER
        if lower is not None and network is not None:
            write_bytes(lower, network)
        parts = {"validation": images.validation}
        if not augment.active:
            parts["train"] = images.train
        found, passes = arrays(lower, parts, self.reader, size, work)
        validation = BatchSource.of_array(found["validation"], images.labels(images.validation))
        labels = images.labels(images.train)
        live, weights = 0, self.record.class_weights
        if augment.active:
            with closing(
                Views(images.train, self.reader, size, augment, self.seed, lower)
            ) as views:
                source = BatchSource.of_function(views.take, labels)
                history = tuner.fit(source, validation, self.seed, weights)
                live = views.passes
        else:
            source = BatchSource.of_array(found["train"], labels)
            history = tuner.fit(source, validation, self.seed, weights)
        if lower is not None:
            print(f"Frozen part: {passes}{f'; {live:,} live passes of views' if live else ''}")
        self.run_statistics.note(
            passes_done=passes.done + live,
            passes_cached=passes.cached,
            live_passes=live,
            extraction_seconds=round(passes.seconds, 3),
            trained_parameters=tuner.trained_parameters(),
        )
        return history, found["validation"]

    def _checked(self, tuner: Tuner, validation: Any) -> Scores:
        """Validation scores of the converted parts with the NumPy head, which must be the model.

        Raises
        ------
        HeadstartError
            If they differ from Keras.
        """
        from headstart.training.activations import Pool, run
        from headstart.training.head import apply_head

        features, weights = run(Pool(self.folder / UPPER), validation), tuner.head_weights()
        ours = apply_head(self.record.head, weights, features[:_COMPARED])
        keras = tuner.probabilities(validation[:_COMPARED])
        difference = float(np.abs(ours - keras).max())
        self.run_statistics.note(conversion_probability_difference=difference)
        if not difference <= TOLERANCE:
            raise HeadstartError(
                "The converted fine-tuned model is not the one that was trained: a probability "
                f"differs by {difference:.2g}, {TOLERANCE:g} is accepted. Nothing was written. "
                "Please report this with the sections backbone and fine_tune of params.yaml; "
                "`fine_tune.epochs: 0` goes on with the head alone."
            )
        labels = self.images.labels(self.images.validation)
        return score(self.record, weights, features, labels)

    def _write(self, tuner: Tuner, tuned: Scores, history: History) -> None:
        labels = self.images.labels(self.images.validation)
        features = self.images.features.array("validation")
        head = score(self.record, self.weights, features, labels)
        why = reason(tuned, head, history.best_epoch, len(history.epochs))
        kept = improves(tuned, head)
        self.run_statistics.note(
            epochs=len(history.epochs),
            epochs_asked=self.params.epochs,
            best_epoch=history.best_epoch,
            kept="fine_tuned" if kept else "head",
        )
        print(f"Model: {'fine-tuned' if kept else 'the head alone'}, {why}")
        if not kept:
            for name in (LOWER, UPPER):
                (self.folder / name).unlink(missing_ok=True)
            write_model(
                self.folder, self.record.model_copy(update={"chosen_because": why}), self.weights
            )
            return
        tuner.base.save_weights(str(self.folder / BACKBONE_WEIGHTS))
        changes = {
            "kind": "fine_tuned",
            "validation": tuned,
            "chosen_because": why,
            "unfrozen_from": tuner.cut.unfrozen_from,
            "unfrozen_alone": tuner.cut.alone,
        }
        write_model(self.folder, self.record.model_copy(update=changes), tuner.head_weights())


def same_backbone(record: ModelRecord, backbone: BackboneRecord) -> None:
    """Refuse a head that was trained on another backbone than the one at hand.

    Raises
    ------
    HeadstartError
        Naming what differs.
    """
    names = ("name", "alpha", "weights", "image_size", "cut", "pooling")
    differing = [
        f"{name}: {getattr(record.backbone, name)!r} and {getattr(backbone, name)!r}"
        for name in names
        if getattr(record.backbone, name) != getattr(backbone, name)
    ]
    if differing:
        raise HeadstartError(
            f"The head was trained on another backbone than this ({'; '.join(differing)}). "
            "Nothing was trained. Run the pipeline (`dvc repro`)."
        )
