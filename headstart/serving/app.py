"""An exported model behind HTTP: a page for people, JSON for programs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from headstart._utils.errors import ImageError
from headstart.serving import rest
from headstart.serving.guard import Guard
from headstart.serving.metrics import CONTENT_TYPE, Measured
from headstart.serving.models import Classifier
from headstart.serving.pages import READS, add_files
from headstart.serving.requests import RefusedError, Upload, files, status_of
from headstart.serving.results import answer
from headstart.serving.service import Service, Settings

_PAGE = {
    "/": ("headstart.serving", "index.html", "text/html; charset=utf-8"),
    "/page.js": ("headstart.serving", "page.js", "text/javascript; charset=utf-8"),
    "/base.css": ("headstart.serving", "base.css", "text/css; charset=utf-8"),
    "/page.css": ("headstart.serving", "page.css", "text/css; charset=utf-8"),
    "/favicon.svg": ("headstart.serving", "favicon.svg", "image/svg+xml"),
}
_RAW = ("image/", "application/octet-stream")
_TOP = 5


def build(classifier: Classifier, settings: Settings) -> FastAPI:
    """Return the application that serves a model."""
    service = Service(classifier, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.batcher.close)

    middleware = [
        Middleware(Measured, metrics=service.metrics),
        Middleware(Guard, hosts=settings.hosts, origins=settings.origins),
    ]
    if settings.origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.origins,
                allow_methods=["GET", "POST"],
                allow_headers=["content-type"],
            )
        )
    app = FastAPI(
        title="Headstart", docs_url=None, redoc_url=None, openapi_url=None,
        lifespan=lifespan, middleware=middleware,
    )  # fmt: skip
    for kind in (RefusedError, HTTPException, Exception):
        app.add_exception_handler(kind, _refuse)
    _add_page(app, service)
    _add_predict(app, service)
    _add_rest(app, service)
    return app


def _add_page(app: FastAPI, service: Service) -> None:
    """Add the page, the description of the model, health and metrics."""
    add_files(app, _PAGE)

    model, settings = service.classifier.record, service.settings
    if model is None:
        raise TypeError("only exported models are served")

    @app.api_route("/model", methods=READS)
    async def about() -> JSONResponse:
        return JSONResponse(
            {
                "name": settings.name,
                "classes": list(model.classes),
                "image_size": model.image_size,
                "kind": model.kind,
                "activation": model.activation,
                "backbone": model.backbone.name,
                "export_format": service.classifier.format,
                "formats": list(settings.limits.formats),
                "max_image_bytes": min(settings.limits.max_bytes, settings.max_body),
                "max_pixels": settings.limits.max_pixels,
                "max_images": settings.max_images,
            }
        )

    @app.api_route("/healthz", methods=READS)
    async def healthz() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @app.api_route("/metrics", methods=READS)
    async def metrics() -> Response:
        return Response(service.metrics.text(), headers={"Content-Type": CONTENT_TYPE})


def _add_predict(app: FastAPI, service: Service) -> None:
    """Add ``POST /predict``."""

    @app.post("/predict")
    async def predict(request: Request) -> JSONResponse:
        top, threshold = _options(request)
        async with service.bodies.stream(request) as stream:
            uploads = await _uploads(request, stream, service.settings.max_images)
            found = await service.classify([upload.content for upload in uploads])
        results = []
        for upload, result in zip(uploads, found, strict=True):
            if isinstance(result, ImageError):
                shown = {"error": result.detail, "reason": result.reason}
            else:
                shown = answer(result, service.classifier.classes, top, threshold).record()
            results.append({"file": upload.name, **shown})
        faults = [result for result in found if isinstance(result, ImageError)]
        if len(faults) == len(found):
            raise RefusedError(status_of(faults[0]), str(faults[0]), {"results": results})
        return JSONResponse({"model": service.settings.name, "results": results})


def _add_rest(app: FastAPI, service: Service) -> None:
    """Add TensorFlow Serving's routes."""
    settings, classifier = service.settings, service.classifier

    def understood(body: bytes) -> rest.Asked:
        with service.parser:
            return rest.understand(body, classifier.size, settings.max_images)

    async def predict(request: Request, name: str, version: str = rest.VERSION) -> JSONResponse:
        _require(settings.name, name, version)
        async with service.bodies.stream(request) as stream:
            body = b"".join([chunk async for chunk in stream])
            asked = await asyncio.to_thread(understood, body)
            del body
            found = await service.classify(asked.items)
        rows = []
        for place, result in enumerate(found):
            if isinstance(result, ImageError):
                raise RefusedError(400, f"image {place}: {result}")
            rows.append(result)
        return JSONResponse(rest.answered(rows, classifier.classes, columnar=asked.columnar))

    async def status(name: str, version: str = rest.VERSION) -> JSONResponse:
        _require(settings.name, name, version)
        return JSONResponse(rest.status())

    async def metadata(name: str, version: str = rest.VERSION) -> JSONResponse:
        _require(settings.name, name, version)
        return JSONResponse(rest.metadata(name, classifier.size, len(classifier.classes)))

    for model in ("/v1/models/{name}", "/v1/models/{name}/versions/{version}"):
        app.add_api_route(f"{model}:predict", predict, methods=["POST"])
        app.add_api_route(f"{model}/metadata", metadata, methods=READS)
        app.add_api_route(model, status, methods=READS)


def _require(known: str, name: str, version: str) -> None:
    if (name, version) != (known, rest.VERSION):
        raise RefusedError(
            404,
            f"There is no model {name!r}, version {version!r}; there is {known!r}, version 1.",
        )


def _options(request: Request) -> tuple[int, float]:
    try:
        top = int(request.query_params.get("top", _TOP))
        threshold = float(request.query_params.get("threshold", 0))
    except ValueError:
        top, threshold = 0, 0.0
    if top < 1 or not 0 <= threshold <= 1:
        raise RefusedError(422, "Expected top ≥ 1 and 0 ≤ threshold ≤ 1.")
    return top, threshold


async def _uploads(request: Request, stream: Any, max_images: int) -> list[Upload]:
    """Return the images of a body: multipart, or the bytes of one image."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await files(request, stream, max_images)
    if kind.startswith(_RAW):
        return [Upload(None, b"".join([chunk async for chunk in stream]))]
    raise RefusedError(
        415,
        f"The content type is {kind[:100]!r}. Send multipart/form-data (curl -F file=@photo.jpg) "
        "or one image's bytes (curl -H 'Content-Type: image/jpeg' --data-binary @photo.jpg).",
    )


async def _refuse(_: Request, error: Exception) -> Response:
    """Answer with an error as JSON; uvicorn logs those that nobody expected."""
    if isinstance(error, HTTPException):
        error = RefusedError(error.status_code, str(error.detail))
    elif not isinstance(error, RefusedError):
        error = RefusedError(500, "The service failed; its log has the reason.")
    return error.response()
