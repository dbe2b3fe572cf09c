"""The effect of augmented views on a head: accuracy, passes and seconds by views per image.

    KERAS_HOME=/path/to/keras python -m benchmarks.views --archive cats-dogs.zip

A small sample is trained on, where augmentation should help most, and the whole test split is
scored. Each seed draws another division and sample, which all rows share; a row is one `dvc repro`
up to the evaluation in a copy of the project. "Passes" are those of an empty feature store, "live"
what new views in every epoch would cost: a pass per training image and epoch, and the held-out
images. The row "as many steps" trains on the plain images for as many steps as the row with
most views, so that a longer training is not taken for the effect of the views.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.checkout import Archive, Checkout, Size, keras_home, start
from headstart.evaluation.recorded import read_evaluation

#: The changes of the cats-and-dogs tutorial: 20 degrees, shifts, shear and zoom of 0.2, mirrored.
AUGMENT = {
    "rotation": 20, "width_shift": 0.2, "height_shift": 0.2, "shear": 0.2, "zoom": 0.2,
    "horizontal_flip": True,
}  # fmt: skip
EPOCHS = 20


def main(
    archive: Archive,
    per_class: Annotated[int, typer.Option(help="training images per class")] = 100,
    shipped: Annotated[bool, typer.Option(help="headstart-small instead")] = False,
    size: Size = 224,
    seeds: str = "42 43 44",
    views: str = "0 1 4 20",
) -> None:
    """Measure and print the table."""
    home = None if shipped else keras_home()
    with tempfile.TemporaryDirectory() as folder:
        project = Checkout(Path(folder) / "project", Path(folder) / "store", home)
        project.set(
            download__source="archive", download__location=str(archive.resolve()),
            sample__train_per_class=per_class,
            sample__validation_per_class=per_class // 2,
            backbone__name="headstart-small" if shipped else "mobilenet_v2",
            backbone__weights="shipped" if shipped else "imagenet",
            backbone__alpha=1.0, backbone__image_size=size,
            train_head__learning_rate=0.001, train_head__early_stopping_patience=None,
            **{f"extract_features__augment__{name}": value for name, value in AUGMENT.items()},
        )  # fmt: skip
        rows: dict[str, list[dict[str, Any]]] = {}
        for seed in map(int, seeds.split()):
            project.set(seed=seed)
            counts = [int(count) for count in views.split()]
            plan = {f"{count} views": (count, EPOCHS) for count in counts}
            plan["no view, as many steps"] = (0, EPOCHS * (max(counts) + 1))
            for name, (count, epochs) in plan.items():
                rows.setdefault(name, []).append(measure(project, count, epochs))
                print(seed, name, rows[name][-1], flush=True)
    show(rows)


def measure(project: Checkout, views: int, epochs: int) -> dict[str, Any]:
    """Run the pipeline with so many views; return its scores and costs."""
    project.set(extract_features__views=views, train_head__epochs=epochs)
    seconds = project.repro("evaluate")[0]
    scores = read_evaluation(project.folder / "data/metrics/evaluate.json")
    extraction, head = (project.statistics(name) for name in ("extract_features", "train_head"))
    # Not from the stage's statistics: DVC may have restored the features without running the stage.
    recorded = project.statistics("runtime")["feature_rows"]
    held_out = recorded - scores["train_images"] * (views + 1)
    return {
        "accuracy": scores["model"]["accuracy"],
        "right": scores["model"]["correct"],
        "test": scores["test_images"],
        "loss": scores["model"]["loss"],
        "passes": recorded,
        "live": scores["train_images"] * epochs + held_out,
        "extraction_seconds": extraction["extraction_seconds"],
        "head_seconds": head["seconds"],
        "seconds": round(seconds, 1),
    }


def show(rows: dict[str, list[dict[str, Any]]]) -> None:
    """Print the table: means over the seeds."""
    print(f"\n{'':24}{'accuracy':>10}{'(each seed)':>26}{'loss':>8}{'passes':>8}{'live':>8}")
    for name, found in rows.items():
        each = " ".join(f"{row['accuracy']:.4f}" for row in found)
        accuracy, loss, passes, live = (
            float(np.mean([row[key] for row in found]))
            for key in ("accuracy", "loss", "passes", "live")
        )
        print(f"{name:24}{accuracy:10.4f}{each:>26}{loss:8.4f}{passes:8,.0f}{live:8,.0f}")


if __name__ == "__main__":
    start(main, __doc__)
