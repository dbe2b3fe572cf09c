"""`headstart show module`: what a module of TensorFlow Hub holds, before it is a backbone."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headstart.cli.front import command

if TYPE_CHECKING:
    from headstart.keras.networks.hub_module import Interface

#: Images of this side are tried where a module takes any.
_ANY = 224


@command(
    says="Say what a module of TensorFlow Hub holds (the images that it takes, the features that "
    "it gives, what can be trained) and print what to set under `backbone` in params.yaml. An "
    "address is fetched, once, into $TFHUB_CACHE_DIR.",
    epilog="Example: headstart show module mobilenet.tar.gz | headstart show module "
    "https://tfhub.dev/google/imagenet/mobilenet_v2_100_224/feature_vector/5",
)
def module(
    handle: Annotated[str, typer.Argument(help="An address, a folder, or a .tar.gz.")],
) -> None:
    """Fetch or copy it, load it, tell."""
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
        base = build_hub(files, interface.size or _ANY)
        size = sum(path.stat().st_size for path in files.rglob("*") if path.is_file())
    shape = tuple(base.output_shape[1:])
    told = [
        ("format", interface.kind),
        ("images", _images(interface)),
        ("features", _features(shape, interface)),
        ("numbers", _numbers(base.count_params(), interface)),
        ("training", _training(interface)),
        ("files", f"{size / 1e6:,.1f} MB, sha256 {digest}"),
    ]
    typer.echo(columns(told, "ll"))
    typer.echo(
        "\nIn params.yaml, under `backbone`:\n"
        f"  name: hub\n  hub: {handle}\n  alpha: 1.0\n  weights: hub\n  weights_sha256: {digest}\n"
        f"  image_size: {'null' if interface.size else _ANY}\n  cut: null\n"
        f"  pooling: {'none' if len(shape) == 1 else 'avg'}"
    )
    if interface.trainable:
        typer.echo(
            "To fine-tune it: `fine_tune.unfreeze_by: count` and `unfreeze: 1`, for the module is "
            "one layer."
        )


def _images(interface: Interface) -> str:
    side = interface.size
    return f"{side} × {side}, red, green, blue from 0 to 1" if side else "of any size, from 0 to 1"


def _features(shape: tuple[int, ...], interface: Interface) -> str:
    if len(shape) == 1:
        return f"a vector of {shape[0]:,}"
    at = "" if interface.size else f" at {_ANY} pixels"
    return f"a map of {' × '.join(f'{side:,}' for side in shape)}{at}"


def _numbers(count: int, interface: Interface) -> str:
    learning = sum(int(variable.shape.num_elements()) for variable in interface.trainable)
    return f"{count:,}, of which {learning:,} can be trained"


def _training(interface: Interface) -> str:
    if not interface.trainable:
        return "none: features only"
    told = "can be told" if interface.takes_training else "cannot be told (always as for inference)"
    return f"{told}; {len(interface.losses)} regularization losses"
