"""Train the classifier on the cached features; no image is read and no backbone runs.

Layers, optimizer and early stopping come from the section `train_head` of params.yaml. The weights
are written to a byte-stable file, and DVC plots the histories.
"""

from __future__ import annotations

from headstart._utils.files import atomic_folder
from headstart._utils.seeds import derive
from headstart.features.folder import read_features
from headstart.stage import command_line
from headstart.stage.command_line import In, Out, Runtime
from headstart.stage.run_statistics import RunStatistics
from headstart.training.fit_head import fit_head
from headstart.training.history import write_batches, write_epochs
from headstart.training.inputs import check_classes
from headstart.training.model_folder import write_model
from headstart.training.parameters import TrainHeadParams
from headstart.training.scores import head_record


def main(
    features: In,
    runtime: Runtime,  # noqa: ARG001 - checked by the command line
    model: Out,
    epoch_history: Out,
    batch_history: Out,
    seed: int,
    train_head: TrainHeadParams,
    run_statistics: RunStatistics,
) -> None:
    """Read the features, train, and write model and histories."""
    recorded = read_features(features)
    check_classes(recorded, train_head)
    seed = derive(seed, "train_head")
    train, validation = (
        (recorded.array(split), recorded.labels(split)) for split in ("train", "validation")
    )
    classes = recorded.header.classes
    layers, weights, history = fit_head(train, validation, len(classes), train_head, seed)
    record = head_record(recorded.header, layers, history, train_head)
    with atomic_folder(model) as folder:
        write_model(folder, record, weights)
    write_epochs(epoch_history, history.epochs)
    write_batches(batch_history, history.batches)
    run_statistics.note(epochs=len(history.epochs), best_epoch=history.best_epoch)
    print(
        f"Head: validation loss {record.validation.loss:.4f}, "
        f"accuracy {record.validation.accuracy:.4f}; chosen: {record.chosen_because}"
    )


if __name__ == "__main__":
    command_line.run(main)
