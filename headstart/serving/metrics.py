"""Counters of the service, in Prometheus' text format."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one service; labels take few values, none of them from a client."""

    def __init__(self, *, export_format: str, classes: int) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "headstart_requests", "Answers by route and status.", ["route", "status"],
            registry=self.registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "headstart_request_seconds", "From the head of a request to the end of its answer.",
            ["route"], buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.images = Counter(
            "headstart_images", "Images by outcome: `classified`, or the reason why not.",
            ["outcome"], registry=self.registry,
        )  # fmt: skip
        self.batch = Histogram(
            "headstart_batch_images", "Images of a batch.", buckets=_SIZES,
            registry=self.registry,
        )  # fmt: skip
        self.held = Gauge(
            "headstart_images_held", "Images that wait or are being classified.",
            registry=self.registry,
        )  # fmt: skip
        info = Gauge(
            "headstart_model", "1; the labels name the export format and the number of classes.",
            ["format", "classes"], registry=self.registry,
        )  # fmt: skip
        info.labels(export_format, str(classes)).set(1)

    def text(self) -> bytes:
        """Return all metrics as text."""
        return generate_latest(self.registry)


class Measured:
    """Middleware that counts answers and their seconds."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and count its answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, counted)
        finally:
            # The route's pattern, never the path itself, which could take any value.
            route = getattr(scope.get("route"), "path", "none")
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - start)
