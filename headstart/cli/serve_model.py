"""`headstart serve-model`: an exported model behind HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from headstart._utils.errors import HeadstartError
from headstart.cli.front import command
from headstart.cli.images import (
    EXPORT,
    FORMATS,
    MAX_IMAGE_BYTES,
    MAX_PIXELS,
    MIN_SIDE,
    Accept,
    FormOption,
    MaxImageBytes,
    MaxPixels,
    MinSide,
    Model,
)

_EXTRA = ("uvicorn", "multipart", "prometheus_client")


@command(
    says="Serve an exported model over HTTP: a page where one drops images, `POST /predict`, "
    "TensorFlow Serving's `/v1/models/NAME:predict`, `/healthz` and `/metrics`. Reachable from "
    "this machine alone unless --host says otherwise; it asks for no password. Ctrl-C stops it.",
    epilog="Example: headstart serve-model --port 8501, then open http://127.0.0.1:8501 or "
    "`curl -F file=@photo.jpg http://127.0.0.1:8501/predict`",
)
def serve_model(  # noqa: PLR0913, PLR0917 - an argument is an option of the command line
    model: Model = EXPORT,
    form: FormOption = None,
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8501,
    name: Annotated[str, typer.Option(help="The model's name in addresses.")] = "headstart",
    max_body: Annotated[int, typer.Option(min=1, help="Bytes of a request.")] = 32_000_000,
    max_images: Annotated[int, typer.Option(min=1, help="Images of a request.")] = 64,
    max_waiting: Annotated[
        int, typer.Option(min=1, help="Images of all requests; beyond: 503, come again.")
    ] = 256,
    max_batch: Annotated[
        int | None,
        typer.Option(min=1, help="Images of a batch; default: 1 for LiteRT, 32 for TensorFlow."),
    ] = None,
    max_wait: Annotated[
        float | None,
        typer.Option(
            min=0, max=10, help="Seconds an image waits for others; default: 0 and 0.005."
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="A further name that the service goes by, once for each; *: any."),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(help="A page's origin that may use it, such as https://example.org."),
    ] = None,
    accept: Accept = FORMATS,
    min_side: MinSide = MIN_SIDE,
    max_pixels: MaxPixels = MAX_PIXELS,
    max_image_bytes: MaxImageBytes = MAX_IMAGE_BYTES,
) -> None:
    """Answer requests until it is told to stop."""
    _require_extra()

    from headstart.images.decode import Limits
    from headstart.serving.app import build
    from headstart.serving.models import load_classifier
    from headstart.serving.server import is_loopback, serve
    from headstart.serving.service import Settings

    settings = Settings(
        name=_checked_name(name),
        limits=Limits(tuple(accept), min_side, max_pixels, max_image_bytes),
        max_body=max_body,
        max_images=max_images,
        room=max(max_waiting, max_images),
        max_batch=max_batch,
        max_wait=max_wait,
        hosts=tuple(allow_host or ()),
        origins=tuple(allow_origin or ()),
    )
    app = build(load_classifier(model, form), settings)
    if not is_loopback(host):
        typer.echo(
            f"Warning: {host} can be reached from other machines. Whoever reaches it can use the "
            "model, without a password and unencrypted: put a proxy with both before it.",
            err=True,
        )
    serve(app, host, port, settings.name)


def _checked_name(name: str) -> str:
    if not name or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in name):
        raise HeadstartError(
            f"--name must be letters, digits, `-`, `_` and `.`, because it stands in addresses. "
            f"Got {name!r}. Nothing was started."
        )
    return name


def _require_extra() -> None:
    from importlib.util import find_spec

    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        raise HeadstartError(
            f"serve-model needs the extra `serving`, of which {', '.join(missing)} cannot be "
            "found. Nothing was started. Install it: `pip install --editable '.[serving]'` in "
            "Headstart's folder (`make run` installs all extras from the lock)."
        )
