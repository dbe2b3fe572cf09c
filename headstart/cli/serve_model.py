"""`headstart serve-model`: serve an exported model over HTTP."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from headstart._utils.errors import HeadstartError
from headstart._utils.extras import needs_extra
from headstart.cli import images as shared
from headstart.cli.front import command

_EXTRA = ("uvicorn", "multipart", "prometheus_client")


@command(
    epilog="Example: headstart serve-model --port 8501, then open http://127.0.0.1:8501 or "
    "`curl -F file=@photo.jpg http://127.0.0.1:8501/predict`",
)
def serve_model(  # noqa: PLR0913, PLR0917 - an argument is an option of the command line
    model: shared.ModelFolder = shared.EXPORT,
    export_format: shared.ExportFormat = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free one.")
    ] = 8501,
    name: Annotated[str, typer.Option(help="Name of the model in addresses.")] = "headstart",
    max_body: Annotated[int, typer.Option(min=1, help="Maximum bytes of a request.")] = 32_000_000,
    max_images: Annotated[
        int, typer.Option(min=1, help="Maximum number of images per request.")
    ] = 64,
    max_waiting: Annotated[
        int,
        typer.Option(
            min=1, help="Maximum number of images of all requests; more are refused (503)."
        ),
    ] = 256,
    max_batch: Annotated[
        int | None,
        typer.Option(min=1, help="Images per batch. Default: 1 for LiteRT, 32 for TensorFlow."),
    ] = None,
    max_wait: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=10,
            help="Seconds to wait for a full batch. Default: 0 for LiteRT, 0.005 for TensorFlow.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Another host name of the service; repeatable; *: any."),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(help="Origin of another page that may use it, like https://example.org."),
    ] = None,
    accept: shared.Accept = shared.ACCEPTED,
    min_side: shared.MinSide = shared.MIN_SIDE,
    max_pixels: shared.MaxPixels = shared.MAX_PIXELS,
    max_image_bytes: shared.MaxImageBytes = shared.MAX_IMAGE_BYTES,
) -> None:
    """Serve an exported model over HTTP.

    The service has a page to drop images on, `POST /predict`, TensorFlow Serving's
    `/v1/models/NAME:predict`, `/healthz` and `/metrics`. By default only this machine can reach the
    service, which asks for no password. Ctrl-C stops it.
    """
    if not re.fullmatch(r"[\w.-]+", name, re.ASCII):
        raise HeadstartError(
            "--name must consist of letters, digits, `-`, `_` and `.`, because it is part of "
            f"addresses. Got {name!r}. Nothing was started."
        )
    _require_extra()

    from headstart.serving.app import build
    from headstart.serving.models import load_classifier
    from headstart.serving.server import is_loopback, serve
    from headstart.serving.service import Settings

    settings = Settings(
        name=name,
        limits=shared.limits_of(accept, min_side, max_pixels, max_image_bytes),
        max_body=max_body,
        max_images=max_images,
        room=max(max_waiting, max_images),
        max_batch=max_batch,
        max_wait=max_wait,
        hosts=tuple(allow_host or ()),
        origins=tuple(allow_origin or ()),
    )
    app = build(load_classifier(model, export_format), settings)
    if not is_loopback(host):
        typer.echo(
            f"Warning: other machines can reach {host}. Anyone who reaches the service can use "
            "the model, without a password and without encryption: put a proxy with both in front.",
            err=True,
        )
    lines = [
        "  people    {address}/",
        "  programs  POST {address}/predict",
        f"            POST {{address}}/v1/models/{name}:predict",
    ]
    serve(app, host, port, lines)


def _require_extra() -> None:
    from importlib.util import find_spec

    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        raise HeadstartError(
            f"{needs_extra('`headstart serve-model`', 'serving', ', '.join(missing))} Nothing was "
            "started."
        )
