"""Train the top of the backbone, or one layer, with the head; keep it only if validation improves.

Training starts from the trained head. Without augmentation the epochs run on cached activations of
the frozen part, so that each image goes through it once. Both models are scored on the validation
split in the same way. The fine-tuned one is kept only if its loss is lower beyond chance, by a
paired test on the validation images. `epochs: 0` keeps the head-only model. A backbone that LiteRT
cannot run cannot be fine-tuned, even with `engine: keras`.
"""

from __future__ import annotations

from headstart._utils.files import atomic_folder, size_below
from headstart._utils.seeds import derive
from headstart.backbones.record import read_backbone
from headstart.stage import command_line
from headstart.stage.command_line import Cluster, In, LazyIn, Out, Runtime
from headstart.stage.run_statistics import RunStatistics
from headstart.stage.space import require_space
from headstart.training.history import write_epochs, write_no_epochs
from headstart.training.inputs import check_backbone, read_tuning_images
from headstart.training.model_folder import read_head, read_model, write_model
from headstart.training.parameters import ComputeParams, FineTuneParams

_OFF = "fine-tuning is off (epochs: 0)"


def main(
    images: LazyIn,
    manifest: In,
    backbone_folder: In,
    head: In,
    features: LazyIn,
    runtime: Runtime,
    model: Out,
    epoch_history: Out,
    run_statistics: RunStatistics,
    fine_tune: FineTuneParams,
    seed: int,
    compute: ComputeParams,
    cluster: Cluster = None,
) -> None:
    """Pass the head through, or train and keep the better of the two models."""
    record = read_model(head)
    weights = read_head(head, record)
    if fine_tune.epochs == 0:
        with atomic_folder(model) as folder:
            write_model(folder, record.model_copy(update={"chosen_because": _OFF}), weights)
        write_no_epochs(epoch_history)
        run_statistics.note(epochs=0, epochs_asked=0, passes_done=0, passes_cached=0)
        print(f"Model: head only, {_OFF}")
        return
    tuning = read_tuning_images(manifest, features, record)
    backbone = read_backbone(backbone_folder)
    check_backbone(record, backbone)
    copies = min(2, len(fine_tune.trials()))  # The best trial, and the one that is trained.
    require_space({model: copies * size_below(backbone_folder)})
    # TensorFlow and pandas, which a head that is passed through does not wait for.
    from headstart.cluster.connection import cluster as open_cluster
    from headstart.datasets.shards import ShardReader
    from headstart.keras.training.fine_tune import fine_tune as train
    from headstart.keras.training.trial import Given

    with (
        ShardReader(images) as reader,
        open_cluster(cluster, images, runtime) as workers,
        atomic_folder(model) as folder,
    ):
        given = Given(
            (record, weights),
            (backbone, backbone_folder),
            tuning,
            reader,
            derive(seed, "fine_tune"),
            compute.threads,
            workers,
        )
        tuned = train(folder, given, fine_tune)
        run_statistics.note(**tuned.statistics)
        print(tuned)
    write_epochs(epoch_history, tuned.history.epochs)
    for checkpoint in tuned.checkpoints:
        checkpoint.drop()


if __name__ == "__main__":
    command_line.run(main)
