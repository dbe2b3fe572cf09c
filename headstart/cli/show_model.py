"""`headstart show model` and `show module`: the layers of a model, and a TensorFlow Hub module."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from headstart.cli.front import PARAMS, StageFiles, command

if TYPE_CHECKING:
    from headstart.backbones.record import BackboneRecord
    from headstart.keras.networks.hub_module import Interface
    from headstart.report.structure import LayerRow
    from headstart.training.model_folder import ModelRecord

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

    Counts trainable and frozen parameters of backbone and head. Reads records, without TensorFlow;
    for --layers and for a fine-tuned backbone, Keras builds the backbone, and every layer is
    listed.
    """
    from headstart.backbones.record import read_backbone
    from headstart.report import structure
    from headstart.stage.parameters import read_params
    from headstart.training.model_folder import read_model

    files = StageFiles(Path.cwd())
    batch_norm = read_params(PARAMS).fine_tune.batch_norm
    backbone_folder = files("backbone", "backbone_folder")
    record = read_backbone(backbone_folder)
    folders = [files(stage, "model") for stage in ("fine_tune", "train_head")]
    made = next((read_model(one) for one in folders if (one / "model.json").is_file()), None)
    tuned = made is not None and made.kind == "fine_tuned"
    alone = made is not None and made.unfrozen_alone
    if layers or tuned:
        backbone = _every_layer(record, backbone_folder, made if tuned else None, batch_norm)
    else:
        pooled = f", {record.pooling} pooling" if record.pooling != "none" else ""
        shape, count = record.feature_shape, record.parameters
        backbone = [structure.LayerRow(record.name, f"backbone{pooled}", shape, count, 0)]
    head: list[LayerRow] = []
    if made is not None:
        normalizes = not tuned or batch_norm == "train"
        head = structure.head_rows(made.head, made.feature_shape, normalizes=normalizes)
    side = record.image_size
    typer.echo(f"{record.name}, {record.origin}\nReads pixels of shape (n, {side}, {side}, 3).\n")
    shown = backbone if layers or not tuned else structure.folded(backbone, alone=alone)
    typer.echo(f"{structure.summary([*shown, *head])}\n\n{structure.totals(backbone, head)}")
    if made is None:
        typer.echo("\nNo head is trained yet: `dvc repro train_head`.")
    elif tuned:
        how = f"in {made.unfrozen_from} only" if alone else f"from {made.unfrozen_from} up"
        typer.echo(f"\nFine-tuned {how}.")
    if record.cut is not None and not (layers or tuned):
        typer.echo(f"\nThe backbone is cut at {record.cut}; its parameters are counted uncut.")


def _every_layer(
    record: BackboneRecord,
    folder: Path,
    tuned: ModelRecord | None,
    batch_norm: Literal["inference", "train"],
) -> list[LayerRow]:
    """Return the layers of the backbone as Keras builds it; ``tuned`` names the trainable ones."""
    from headstart.keras.networks.backbone import rebuild_backbone
    from headstart.keras.training.layers import layers_of
    from headstart.report.structure import LayerRow

    unfrozen = tuned.unfrozen_from if tuned else None
    alone = tuned is not None and tuned.unfrozen_alone
    built = rebuild_backbone(record, folder)
    rows = [
        LayerRow(*each) for each in layers_of(built, record.cut, unfrozen, batch_norm, alone=alone)
    ]
    if record.pooling != "none":
        rows.append(LayerRow("pooling", record.pooling, record.feature_shape, 0, 0))
    return rows


@command(
    epilog="Example: headstart show module mobilenet.tar.gz | headstart show module "
    "https://tfhub.dev/google/imagenet/mobilenet_v2_100_224/feature_vector/5",
)
def module(
    handle: Annotated[str, typer.Argument(help="An address, a folder, or a .tar.gz.")],
) -> None:
    """Show the images, features and variables of a TensorFlow Hub module.

    Prints what to set under `backbone` in params.yaml. An address is downloaded once, into
    $TFHUB_CACHE_DIR.
    """
    from headstart._utils.errors import ParameterError, UnfitError
    from headstart._utils.tables import columns
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
    shape = tuple(layer.output_shape[1:])
    rows = [
        ("format", interface.kind),
        ("images", _images(interface)),
        ("features", _features(shape, interface)),
        ("parameters", _parameters(layer.count_params(), interface)),
        ("training", _training(interface)),
        ("files", f"{size / 1e6:,.1f} MB, sha256 {digest}"),
    ]
    typer.echo(columns(rows, "ll"))
    typer.echo(
        "\nIn params.yaml, under `backbone`:\n"
        f"  name: hub\n  hub: {handle}\n  alpha: 1.0\n  weights: hub\n  weights_sha256: {digest}\n"
        f"  image_size: {'null' if interface.size else _SIDE}\n  cut: null\n"
        f"  pooling: {'none' if len(shape) == 1 else 'avg'}"
    )
    if interface.trainable:
        typer.echo(
            "To fine-tune it, set `fine_tune.unfreeze_by: count` and `unfreeze: 1`, because the "
            "module is one layer."
        )


def _images(interface: Interface) -> str:
    side = interface.size
    return f"{side} × {side}, RGB from 0 to 1" if side else "of any size, RGB from 0 to 1"


def _features(shape: tuple[int, ...], interface: Interface) -> str:
    if len(shape) == 1:
        return f"a vector of {shape[0]:,}"
    at = "" if interface.size else f" at {_SIDE} pixels"
    return f"a map of {' × '.join(f'{side:,}' for side in shape)}{at}"


def _parameters(count: int, interface: Interface) -> str:
    trainable = sum(int(variable.shape.num_elements()) for variable in interface.trainable)
    return f"{count:,}, of which {trainable:,} are trainable"


def _training(interface: Interface) -> str:
    from headstart._utils.tables import counted

    if not interface.trainable:
        return "none: features only"
    mode = "has a training mode" if interface.takes_training else "always in inference mode"
    losses = counted(len(interface.losses), "regularization loss", "regularization losses")
    return f"{mode}; {losses}"
