"""`headstart sizes`: accuracy and speed of the trained model at other image sizes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headstart._utils.errors import HeadstartError, ParameterError
from headstart.cli.front import StageFiles, command, read_parameters

if TYPE_CHECKING:
    from headstart.keras.export.resizing import Evaluated, Measured

_LARGEST = 2048  # as for `backbone.image_size`


@command(
    epilog="Examples: headstart sizes 192 160 128 | "
    "headstart sizes 128 --write export-128, then headstart predict --model export-128 photo.jpg",
    needs="project",
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
    """Measure the trained model at other image sizes.

    The weights stay the same. Each row shows the accuracy on the test images with its 95 %
    interval, McNemar's test against the trained size, and milliseconds per image. The backbone must
    be pooled. The run is not changed.
    """
    import json
    import tempfile

    if as_json and as_csv:
        raise ParameterError("`--json` and `--csv` cannot be used together.")
    if target is not None and len(set(sizes)) > 1:
        raise ParameterError(f"`--write` takes one SIZE. Got {len(set(sizes))} of them.")
    from headstart.evaluation.sizes import csv_text, table, values
    from headstart.keras.export import resizing

    if target is not None:
        resizing.check_target(target)
    most = read_parameters().export.max_probability_difference
    names = ("model", "backbone_folder", "images", "manifest", "predictions")
    paths = StageFiles(Path.cwd()).existing("export", *names)
    evaluated = resizing.Evaluated.read(*paths)
    resizing.check_sizes(evaluated.trained, sizes)
    with tempfile.TemporaryDirectory() as folder:
        found = resizing.measure(evaluated, sizes, Path(folder), most)
        if as_json:
            answer = {"same_as_evaluated": found.same, "sizes": values(found.rows)}
            typer.echo(json.dumps(answer, indent=2))
        elif as_csv:
            typer.echo(csv_text(found.rows))
        else:
            title, legend = _title(evaluated, found), _legend(evaluated, found)
            typer.echo(f"{title}\n{table(found.rows)}\n\n{legend}")
        if target is None:
            return
        try:
            resizing.write_resized(target, evaluated.trained, found.resized[sizes[0]])
        except OSError as error:
            raise HeadstartError(
                f"The model could not be written to {target}: {error.strerror or error}. The "
                "measurements are printed above. Name another folder."
            ) from error
        typer.echo(f"Written: {target}, for `headstart predict --model {target}`.", err=True)


def _title(evaluated: Evaluated, found: Measured) -> str:
    trained, count = evaluated.trained, len(evaluated.rows)
    kind = "fine-tuned" if trained.record.kind == "fine_tuned" else "head only"
    return (
        f"Test split: {count:,} images. Model: {kind}, trained at {trained.backbone.image_size} "
        f"pixels, where {found.same:,} of {count:,} first guesses are the evaluated ones."
    )


def _legend(evaluated: Evaluated, found: Measured) -> str:
    from headstart.keras.export.resizing import COMPARED

    size = evaluated.trained.backbone.image_size
    engine = "LiteRT on one thread"
    if any(each.file is None for each in found.resized.values()):
        engine = "Keras on all cores, in batches"
    return (
        f"Only at {size}, only here: images that only the trained size, or only this size, "
        f"classifies correctly; p: McNemar's exact test of the two.\nMilliseconds per image: "
        f"median of {min(COMPARED, len(evaluated.rows))} test images, for decoding with resizing, "
        f"and for the network in {engine}."
    )
