"""`headstart sizes`: the trained model on smaller or larger images, how well and how fast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headstart._utils.errors import HeadstartError, ParameterError
from headstart.cli.front import PARAMS, command

if TYPE_CHECKING:
    import pandas as pd

    from headstart.cli.resizing import Resized
    from headstart.evaluation.predictions import Predictions
    from headstart.evaluation.sizes import AtSize
    from headstart.keras.export.export import Model

STAGE = "export"
_COMPARED = 32  # images that are timed, and that LiteRT is compared with Keras on
_LARGEST = 2048  # as of `backbone.image_size`


@command(
    says="Run the trained model in `data` on the test images at other sizes, with the same "
    "weights: accuracy with its 95 % interval, McNemar's test against the trained size, "
    "milliseconds an image. The backbone must be pooled. Changes nothing of the run.",
    epilog="Examples: headstart sizes 192 160 128 | "
    "headstart sizes 128 --write export-128, then headstart predict --model export-128 photo.jpg",
)
def sizes(
    sizes: Annotated[
        list[int],
        typer.Argument(metavar="SIZE...", min=1, max=_LARGEST, help="Sides in pixels."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV for a program.")] = False,
    target: Annotated[
        Path | None,
        typer.Option("--write", help="With one SIZE: a new folder for `predict --model`."),
    ] = None,
) -> None:
    """Print a row for each size, the trained one first."""
    import json
    import tempfile

    from headstart.cli.resizing import check_sizes, check_target, write
    from headstart.evaluation.sizes import csv_text, table, values
    from headstart.stage.parameters import read_params

    if as_json and as_csv:
        raise ParameterError("`--json` and `--csv` exclude each other.")
    if target is not None:
        if len(set(sizes)) > 1:
            raise ParameterError(f"`--write` takes one SIZE. Got {len(set(sizes))} of them.")
        check_target(target)
    tested = _read(_paths())
    check_sizes(tested.trained, sizes)
    with tempfile.TemporaryDirectory() as folder:
        most = read_params(PARAMS).export.max_probability_difference
        found, made, same = _measured(tested, sizes, Path(folder), most)
        if as_json:
            typer.echo(json.dumps({"same_as_evaluated": same, "sizes": values(found)}, indent=2))
        elif as_csv:
            typer.echo(csv_text(found))
        else:
            typer.echo(f"{_title(tested, same)}\n{table(found)}\n\n{_legend(tested, made)}")
        if target is not None:
            try:
                write(target, tested.trained, made[sizes[0]])
            except OSError as error:
                raise HeadstartError(
                    f"The model could not be written to {target}: {error.strerror or error}. What "
                    "was measured stands above. Name another folder."
                ) from error
            typer.echo(f"Written: {target}, for `headstart predict --model {target}`.", err=True)


@dataclass(frozen=True)
class _Tested:
    """The model, and the test images that it was evaluated on."""

    trained: Model
    images: Path
    rows: pd.DataFrame
    predictions: Predictions


def _read(paths: Mapping[str, Path]) -> _Tested:
    from headstart.cli.resizing import evaluated_rows
    from headstart.evaluation.predictions import read_predictions
    from headstart.keras.export.export import Model

    for name in ("predictions", "model", "backbone_folder", "manifest", "images"):
        if not paths[name].exists():
            raise HeadstartError(
                f"There is no {paths[name]} yet. Run the pipeline first: `dvc repro evaluate`."
            )
    trained = Model.read(paths["model"], paths["backbone_folder"])
    predicted = read_predictions(paths["predictions"], trained.record.classes)
    rows = evaluated_rows(paths["manifest"], predicted.rows, paths["predictions"])
    return _Tested(trained, paths["images"], rows, predicted)


def _measured(
    tested: _Tested, sizes: Sequence[int], folder: Path, most: float
) -> tuple[list[AtSize], Mapping[int, Resized], int]:
    """A row for each size, what ran, and on how many images it says what was evaluated."""
    import numpy as np

    from headstart._utils.progress import progress
    from headstart.cli.resizing import resized
    from headstart.datasets.shards import ShardReader
    from headstart.evaluation.comparison import paired
    from headstart.evaluation.sizes import AtSize, durations, probabilities
    from headstart.export.parity import compare
    from headstart.export.parity_images import choose, load

    first, rows = tested.trained.backbone.image_size, tested.rows
    some = rows.iloc[choose(len(rows), _COMPARED)]
    made, said = {}, {}
    # All are built before any runs, so that what is refused costs no time.
    for size in dict.fromkeys([first, *sizes]):
        place = folder / str(size)
        place.mkdir()
        contents, shown = load(tested.images, some, size)
        made[size] = resized(tested.trained, size, shown, place, most)
    with ShardReader(tested.images) as reader:
        for size, each in made.items():
            with progress(len(rows), f"At {size} pixels", "image") as bar:
                said[size] = probabilities(each.network, rows, reader, bar)
    took = durations([each.network for each in made.values()], contents)
    classes = np.array(tested.trained.record.classes)
    guesses = {size: rows.assign(predicted=classes[found.argmax(axis=1)])
               for size, found in said.items()}  # fmt: skip
    found = [
        AtSize(
            size,
            int((frame["predicted"] == frame["label"]).sum()),
            len(rows),
            took[size],
            None if size == first else paired(guesses[first], frame),
        )
        for size, frame in guesses.items()
    ]
    return found, made, compare(tested.predictions.model, said[first]).same


def _title(tested: _Tested, same: int) -> str:
    size, count = tested.trained.backbone.image_size, len(tested.rows)
    kind = "fine-tuned" if tested.trained.record.kind == "fine_tuned" else "head only"
    return (
        f"Test split: {count:,} images; {kind}, trained at {size} pixels, where the first guess "
        f"is the evaluated one on {same:,} of {count:,}."
    )


def _legend(tested: _Tested, made: Mapping[int, Resized]) -> str:
    size = tested.trained.backbone.image_size
    by = "LiteRT on one thread"
    if any(each.file is None for each in made.values()):
        by = "Keras on all cores, in batches"
    return (
        f"Only at {size}, only here: images that only the trained size, or only this one, "
        f"classifies correctly; p: McNemar's exact test of the two.\nMilliseconds per image, "
        f"median of {min(_COMPARED, len(tested.rows))} test images, the sizes in turn: decoding "
        f"with resizing, and the network by {by}."
    )


def _paths() -> Mapping[str, Path]:
    """Where the stage `export` finds the trained model, as dvc.yaml says it."""
    from headstart.pipeline import graph
    from headstart.pipeline.plan import options

    stages = {stage.name: stage for stage in graph.stages(Path.cwd())}
    if STAGE not in stages:
        raise HeadstartError(f"dvc.yaml has no stage {STAGE}, which says where the files are.")
    return {name: Path(value) for name, value in options(stages[STAGE]).items()}
