"""The top of the backbone, or one layer, trained with the head; kept only if validation improves.

Starts from the trained head. Without augmentation the epochs run on recorded activations of the
frozen part, so that each image passes through it once, ever. The result is compared with the
head-only model on the validation split, both computed the same way, and the better one goes on:
the higher accuracy, or with equal accuracy the lower loss. `epochs: 0` passes the head through.
A backbone that LiteRT cannot run cannot be fine-tuned, with `engine: keras` either.
"""

from __future__ import annotations

from headstart._utils.files import atomic_folder, write_text
from headstart._utils.seeds import derive
from headstart.keras.training.fine_tune import OFF, Run, keep_head, read_images
from headstart.stage import command_line
from headstart.stage.command_line import In, LazyIn, Out, Runtime
from headstart.stage.run_statistics import RunStatistics
from headstart.training.model_folder import (
    read_head,
    read_model,
)
from headstart.training.parameters import ComputeParams, FineTuneParams


def main(
    images: LazyIn,
    manifest: In,
    backbone_folder: In,
    head: In,
    features: LazyIn,
    runtime: Runtime,  # noqa: ARG001 - checked by the command line
    model: Out,
    epoch_history: Out,
    run_statistics: RunStatistics,
    fine_tune: FineTuneParams,
    seed: int,
    compute: ComputeParams,
) -> None:
    """Pass the head through, or train and keep the better of the two."""
    record = read_model(head)
    weights = read_head(head, record)
    if fine_tune.epochs == 0:
        keep_head(model, record, weights, OFF)
        # The module of histories needs pandas, which would take most of this stage's time.
        write_text(epoch_history, "epoch,loss,accuracy,val_loss,val_accuracy,learning_rate\n")
        run_statistics.note(epochs=0, epochs_asked=0, passes_done=0, passes_cached=0)
        print(f"Model: the head alone, {OFF}")
        return
    from headstart.datasets.shards import ShardReader
    from headstart.training.history import write_epochs

    rows = read_images(manifest, features, record)
    with ShardReader(images) as reader, atomic_folder(model) as folder:
        run = Run(
            record,
            weights,
            rows,
            reader,
            fine_tune,
            derive(seed, "fine_tune"),
            folder,
            run_statistics,
        )
        history = run(backbone_folder, compute.threads)
    write_epochs(epoch_history, history.epochs)


if __name__ == "__main__":
    command_line.run(main)
