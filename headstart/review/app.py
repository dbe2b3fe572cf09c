"""The page and its requests: lists of findings, images, decisions."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from headstart._utils.errors import HeadstartError, ImageError
from headstart.datasets.shards import ShardReader
from headstart.images.decode import INSPECTED
from headstart.images.thumbnails import find_thumbnail, reduced
from headstart.review.decisions import DOES, Decisions, Verdicts
from headstart.review.findings import MOST, Files, Finding, Images, Queue
from headstart.serving.guard import Guard
from headstart.serving.pages import add_files
from headstart.serving.requests import Bodies, RefusedError

LOG = logging.getLogger(__name__)
_PAGE = {
    "/": ("headstart.review", "index.html", "text/html; charset=utf-8"),
    "/page.js": ("headstart.review", "page.js", "text/javascript; charset=utf-8"),
    "/base.css": ("headstart.serving", "base.css", "text/css; charset=utf-8"),
    "/page.css": ("headstart.review", "page.css", "text/css; charset=utf-8"),
    "/favicon.svg": ("headstart.serving", "favicon.svg", "image/svg+xml"),
}
_SIDE = 480  # pixels of the longer side
_LOSSLESS = 64
_MOST_BODY = 16_384
_MOST_AT_ONCE = 4


class Review:
    """The findings of a run and the decisions on them.

    Parameters
    ----------
    files : Files
    known : Images
    queues : sequence of Queue
    decisions : Decisions
    """

    def __init__(
        self, files: Files, known: Images, queues: Sequence[Queue], decisions: Decisions
    ) -> None:
        self.files, self.known, self.decisions = files, known, decisions
        self.queues = {queue.name: queue for queue in queues}
        self.findings = {
            f"{queue.name}/{finding.key}": finding for queue in queues for finding in queue.findings
        }
        self.reader = ShardReader(files.shards)
        self.room = asyncio.Semaphore(_MOST_AT_ONCE)
        self.bodies = Bodies(_MOST_BODY, 64 * _MOST_BODY)

    def listed(self) -> dict[str, Any]:
        """Return the open findings of each queue, for the page."""
        rows = self.decisions.read()
        verdicts = Verdicts.of(rows, self.known)
        return {
            "classes": self.decisions.classes(rows),
            "queues": [self._queue(queue, verdicts) for queue in self.queues.values()],
        }

    def state(self, place: str) -> dict[str, Any]:
        """Return one finding as it is decided now."""
        rows = self.decisions.read()
        queue = self.queues[place.partition("/")[0]]
        return {
            "classes": self.decisions.classes(rows),
            "item": self._shown(queue, self.findings[place], Verdicts.of(rows, self.known)),
        }

    def thumbnail(self, image_id: str) -> tuple[bytes, str]:
        """Return a small image of the source, and its type."""
        place = self.known.places[image_id]
        content = self.reader.read(place.shard, place.offset, place.length, image_id)
        small = reduced(content, INSPECTED, _SIDE)
        kind = "png" if max(small.size) <= _LOSSLESS else "jpeg"
        stream = io.BytesIO()
        small.save(stream, kind)
        return stream.getvalue(), f"image/{kind}"

    def _queue(self, queue: Queue, verdicts: Verdicts) -> dict[str, Any]:
        undecided = [each for each in queue.findings if not verdicts.on(each)]
        return {
            "name": queue.name,
            "title": queue.title,
            "warning": queue.warning,
            "open": len(undecided),
            "items": [self._shown(queue, each, verdicts) for each in undecided[:MOST]],
        }

    def _shown(self, queue: Queue, finding: Finding, verdicts: Verdicts) -> dict[str, Any]:
        return {
            "place": f"{queue.name}/{finding.key}",
            "about": finding.about,
            "suggested": finding.suggested,
            "file": finding.file,
            "decision": verdicts.on(finding),
            "images": [
                {
                    "id": one,
                    "path": self.known.paths[one],
                    "label": self.known.labels[one],
                    "corrected": verdicts.label(one),
                    "split": self.known.splits.get(one, ""),
                }
                for one in finding.images
            ],
        }


def build(review: Review) -> FastAPI:
    """Return the application of a review."""
    app = FastAPI(
        title="Headstart", docs_url=None, redoc_url=None, openapi_url=None,
        middleware=[Middleware(Guard, hosts=(), origins=())],
    )  # fmt: skip
    for kind in (RefusedError, HTTPException, HeadstartError, Exception):
        app.add_exception_handler(kind, _refuse)
    add_files(app, _PAGE)
    _add_lists(app, review)
    _add_decisions(app, review)
    return app


def _add_lists(app: FastAPI, review: Review) -> None:
    """Add the findings and their images."""

    @app.get("/findings")
    async def findings() -> JSONResponse:
        return JSONResponse(await asyncio.to_thread(review.listed))

    @app.get("/images/{image_id}")
    async def image(image_id: str) -> Response:
        if image_id not in review.known.places:
            raise RefusedError(404, "There is no such image.")
        async with review.room:
            content, kind = await asyncio.to_thread(review.thumbnail, image_id)
        return Response(content, headers={"Content-Type": kind})

    @app.get("/rejected")
    async def rejected(path: str) -> Response:
        content = find_thumbnail(review.files.rejected_images, path)
        if content is None:
            raise RefusedError(404, "Nothing of this file can be shown.")
        return Response(content, headers={"Content-Type": "image/jpeg"})


def _add_decisions(app: FastAPI, review: Review) -> None:
    """Add the requests that write corrections."""

    @app.post("/decide")
    async def decide(request: Request) -> JSONResponse:
        said = await _json(review, request)
        place = _text(said, "place")
        if place not in review.findings:
            raise RefusedError(404, "There is no such finding.")
        if _text(said, "action") not in DOES:
            raise RefusedError(422, f"The action must be one of {', '.join(DOES)}.")
        await asyncio.to_thread(
            review.decisions.take, place, review.findings[place], _text(said, "action"),
            _text(said, "value"), _text(said, "image"), new=said.get("new") is True,
        )  # fmt: skip
        return JSONResponse(await asyncio.to_thread(review.state, place))

    @app.post("/undo")
    async def undo(request: Request) -> JSONResponse:
        await _json(review, request)
        place = await asyncio.to_thread(review.decisions.undo)
        if place is None:
            raise RefusedError(409, "There is nothing to undo.")
        return JSONResponse(await asyncio.to_thread(review.state, place))


async def _json(review: Review, request: Request) -> Mapping[str, Any]:
    # Browsers ask before a page of another origin may send this type.
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        raise RefusedError(415, "Send application/json.")
    async with review.bodies.stream(request) as stream:
        body = b"".join([chunk async for chunk in stream])
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RefusedError(400, "The body is not a JSON object.")
    return found


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name, "")
    if not isinstance(value, str):
        raise RefusedError(422, f"{name} must be a text.")
    return value


async def _refuse(_: Request, error: Exception) -> Response:
    """Answer with an error as JSON."""
    if isinstance(error, HTTPException):
        error = RefusedError(error.status_code, str(error.detail))
    elif isinstance(error, ImageError):
        error = RefusedError(422, str(error))
    elif isinstance(error, HeadstartError):
        error = RefusedError(409, str(error))
    elif not isinstance(error, RefusedError):
        LOG.error("a request failed", exc_info=error)
        error = RefusedError(500, "The request failed; the terminal shows why.")
    return error.response()
