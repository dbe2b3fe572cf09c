"""`headstart show model` and `show module`: the layers of a model, and a TensorFlow Hub module."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from headstart._utils.errors import ParameterError, UnfitError
from headstart._utils.tables import columns, counted
from headstart.cli.front import StageFiles, command, read_parameters

_SIDE = 224  # of the images to try where a module takes any size


@command(
    epilog="Example: headstart show model --layers",
    needs="project",
)
def model(
    layers: Annotated[
        bool, typer.Option("--layers", help="List every layer of the backbone.")
    ] = False,
) -> None:
    """Show the model's layers with outputs and parameters.

    The totals count trainable and frozen parameters of backbone and head. Only records are read,
    without TensorFlow; for --layers and for a fine-tuned backbone, Keras builds the backbone, and
    every layer is listed.
    """
    from headstart.backbones.record import read_backbone
    from headstart.report import structure
    from headstart.training.model_folder import read_model

    files = StageFiles(Path.cwd())
    batch_norm = read_parameters().fine_tune.batch_norm
    backbone_folder = files("backbone", "backbone_folder")
    record = read_backbone(backbone_folder)
    folders = [files(stage, "model") for stage in ("fine_tune", "train_head")]
    made = next((read_model(one) for one in folders if (one / "model.json").is_file()), None)
    tuned = made if made is not None and made.kind == "fine_tuned" else None
    alone = tuned is not None and tuned.unfrozen_alone
    pooled, shape = record.pooling != "none", record.feature_shape
    if layers or tuned:
        from headstart.keras.networks.backbone import rebuild_backbone
        from headstart.keras.training.layers import layers_of

        built = rebuild_backbone(record, backbone_folder)
        unfrozen = tuned.unfrozen_from if tuned else None
        found = layers_of(built, record.cut, unfrozen, batch_norm, alone=alone)
        backbone = [structure.LayerRow(*each) for each in found]
        if pooled:
            backbone.append(structure.LayerRow("pooling", record.pooling, shape, 0, 0))
    else:
        kind = f"backbone, {record.pooling} pooling" if pooled else "backbone"
        backbone = [structure.LayerRow(record.name, kind, shape, record.parameters, 0)]
    head: list[structure.LayerRow] = []
    if made is not None:
        normalizes = tuned is None or batch_norm == "train"
        head = structure.head_rows(made.head, made.feature_shape, normalizes=normalizes)
    side = record.image_size
    typer.echo(f"{record.name}, {record.origin}\nReads pixels of shape (n, {side}, {side}, 3).\n")
    shown = structure.folded(backbone, alone=alone) if tuned and not layers else backbone
    typer.echo(f"{structure.summary([*shown, *head])}\n\n{structure.totals(backbone, head)}")
    if made is None:
        typer.echo("\nNo head is trained yet: `dvc repro train_head`.")
    elif tuned:
        how = f"in {tuned.unfrozen_from} only" if alone else f"from {tuned.unfrozen_from} up"
        typer.echo(f"\nFine-tuned {how}.")
    if record.cut is not None and not (layers or tuned):
        typer.echo(f"\nThe backbone is cut at {record.cut}; its parameters are counted uncut.")


@command(
    epilog="Example: headstart show module mobilenet.tar.gz | headstart show module "
    "https://tfhub.dev/google/imagenet/mobilenet_v2_100_224/feature_vector/5",
)
def module(
    handle: Annotated[str, typer.Argument(help="An address, a folder, or a .tar.gz.")],
) -> None:
    """Show the inputs, features and variables of a Hub module.

    The last lines are the values for `backbone` in params.yaml. An address is downloaded once, into
    $TFHUB_CACHE_DIR.
    """
    from headstart.backbones.parameters import fit_handle

    try:
        fit_handle(handle)
    except UnfitError as error:
        raise ParameterError(
            f"HANDLE must be {error.expected}. Got {handle!r} instead. {error.hint}"
        ) from None
    from headstart.keras.networks.hub_files import copy_module
    from headstart.keras.networks.hub_layer import build_hub
    from headstart.keras.networks.hub_module import load_interface

    with tempfile.TemporaryDirectory(prefix="headstart-module-") as folder:
        files = Path(folder) / "module"
        digest = copy_module(handle, None, files)
        interface = load_interface(files)
        layer = build_hub(files, interface.size or _SIDE)
        size = sum(path.stat().st_size for path in files.rglob("*") if path.is_file())
    side, shape = interface.size, tuple(layer.output_shape[1:])
    shown = " × ".join(f"{length:,}" for length in shape)
    sized = shown if side else f"{shown} at {_SIDE} pixels"
    learns = sum(int(variable.shape.num_elements()) for variable in interface.trainable)
    training = "none: features only"
    if interface.trainable:
        mode = "has a training mode" if interface.takes_training else "always in inference mode"
        losses = counted(len(interface.losses), "regularization loss", "regularization losses")
        training = f"{mode}; {losses}"
    rows = [
        ("format", interface.kind),
        ("images", f"{f'{side} × {side}' if side else 'of any size'}, RGB from 0 to 1"),
        ("features", f"a vector of {shown}" if len(shape) == 1 else f"a map of {sized}"),
        ("parameters", f"{layer.count_params():,}, of which {learns:,} are trainable"),
        ("training", training),
        ("files", f"{size / 1e6:,.1f} MB, sha256 {digest}"),
    ]
    typer.echo(columns(rows, "ll"))
    typer.echo(
        "\nIn params.yaml, under `backbone`:\n"
        f"  name: hub\n  hub: {handle}\n  alpha: 1.0\n  weights: hub\n  weights_sha256: {digest}\n"
        f"  image_size: {'null' if side else _SIDE}\n  cut: null\n"
        f"  pooling: {'none' if len(shape) == 1 else 'avg'}\n  gray16_bits: null"
    )
    if interface.trainable:
        typer.echo(
            "To fine-tune it, set `fine_tune.unfreeze_by: count` and `unfreeze: 1`, because the "
            "module is one layer."
        )
