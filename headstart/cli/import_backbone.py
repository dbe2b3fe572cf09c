"""`headstart import-backbone`: a backbone of one's own, from a file or from KerasHub."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from headstart._utils.errors import ParameterError
from headstart._utils.files import sha256_file
from headstart._utils.tables import columns
from headstart.cli.front import command

if TYPE_CHECKING:
    from headstart.keras.importing.importing import Imported

_FOLDER = Path("backbones")


@command(
    epilog="Examples: headstart import-backbone resnet.onnx --preprocessing torch --license MIT | "
    "headstart import-backbone keras_hub:dinov2_small --image-size 224 | "
    "headstart import-backbone keras_hub:vit_small --random-weights",
)
def import_backbone(
    source: Annotated[
        str,
        typer.Argument(
            help="A .keras, .onnx or .tflite file, the folder of a SavedModel, or keras_hub:PRESET "
            "(a name, hf://…, kaggle://…, or a folder)."
        ),
    ],
    folder: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for a preset of KerasHub.")
    ] = _FOLDER,
    preprocessing: Annotated[
        Literal["tf", "torch", "caffe", "unit", "none"] | None,
        typer.Option(
            help="The network's scaling of pixels: tf (-1 to 1), unit (0 to 1), torch (ImageNet's "
            "means and deviations), caffe (blue first, minus the means), none (0 to 255)."
        ),
    ] = None,
    color_order: Annotated[
        Literal["rgb", "bgr"] | None, typer.Option(help="Order of the colors. Default: rgb.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=1, max=2048, help="Side of the images in pixels.")
    ] = None,
    output_name: Annotated[
        str | None, typer.Option(help="The output to use, if the file has several.")
    ] = None,
    tokens: Annotated[
        Literal["first", "mean"] | None,
        typer.Option(help="Reduction of a transformer's tokens: the class token, or their mean."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="A name. Default: the file's.")] = None,
    license_: Annotated[
        str | None, typer.Option("--license", help="License of the weights, for the model card.")
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="Where a file comes from, for the model card.")
    ] = None,
    random_weights: Annotated[
        bool,
        typer.Option(
            "--random-weights", help="With keras_hub: draw the weights, to try a network."
        ),
    ] = False,
) -> None:
    """Make a network a backbone, with a record beside it.

    The network is read, built and run on real images; code, custom layers and references to other
    files are refused. The record (PATH.json) holds its SHA-256, size, scaling, license and origin.
    The last lines are the values for `backbone` in params.yaml. For keras_hub, an environment is
    made once in the cache folder, because KerasHub does not fit beside Headstart's packages.
    """
    from headstart.keras.importing.importing import Description, describe_file, import_preset
    from headstart.keras.importing.presets import KERAS_HUB

    description = Description(
        preprocessing, color_order, image_size, output_name, tokens, name, license_, from_
    )
    if source.startswith(KERAS_HUB):
        if output_name or tokens or from_:
            raise ParameterError(
                "The options --output-name, --tokens and --from are for files; a preset of "
                "KerasHub has its own. Nothing was imported."
            )
        found = import_preset(source, folder, description, random_weights=random_weights, say=_say)
    elif random_weights:
        raise ParameterError(
            f"The option `--random-weights` is for {KERAS_HUB}PRESET: a file has its weights. "
            "Nothing was imported."
        )
    else:
        found = describe_file(Path(source), description)
    _show(found)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _show(found: Imported) -> None:
    from headstart.backbones.network_record import KIND_NAMES

    record = found.record
    shape = " × ".join(f"{length:,}" for length in record.feature_shape)
    vector = len(record.feature_shape) == 1
    trained = "random: it was never trained" if record.random_weights else record.license
    rows = [
        ("network", f"{record.name}, {KIND_NAMES[record.kind]}, {found.parameters:,} parameters"),
        ("images", f"{record.image_size} × {record.image_size}, {record.color_order.upper()}"),
        ("features", f"a {'vector' if vector else 'map'} of {shape}"),
        ("weights", trained if record.random_weights else f"license: {trained}"),
        ("origin", record.source),
        ("sha256", record.sha256),
    ]
    if found.difference is not None:
        rows.append(
            ("translation", f"at most {found.difference:.1e} of a feature's standard deviation off")
        )
    typer.echo(columns(rows, "ll"))
    path = found.path.absolute()
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    typer.echo(
        f"\nWritten: {shown}\n\nIn params.yaml, under `backbone`:\n"
        f"  name: file\n  hub: null\n  alpha: 1.0\n  weights: {shown}\n"
        f"  weights_sha256: {sha256_file(found.path)}\n"
        f"  image_size: null\n  cut: null\n  pooling: {'none' if vector else 'avg'}\n"
        "  gray16_bits: null"
    )
    if record.kind == "saved_model":
        typer.echo(
            "To fine-tune it, set `fine_tune.unfreeze_by: layer` and `unfreeze: network`, because "
            "the network is one layer."
        )
