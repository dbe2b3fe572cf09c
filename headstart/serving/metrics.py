"""Counters of the service, in Prometheus' text format."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    Floats = npt.NDArray[np.float32]

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64)
_TENTHS = tuple(tenth / 10 for tenth in range(1, 11))
#: Classes that are counted one by one; of a model with more, none are.
_MOST_CLASSES = 100
#: Of the pixels of an image, one in this many rows and columns gives its brightness.
_EVERY = 8


class Metrics:
    """Counters of one service; labels take few values, none of them from a client."""

    def __init__(self, *, export_format: str, classes: Sequence[str]) -> None:
        self._classes = classes
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
        self.confidence = Histogram(
            "headstart_confidence", "Probability of the most likely class of an image.",
            buckets=_TENTHS, registry=self.registry,
        )  # fmt: skip
        self.brightness = Histogram(
            "headstart_brightness", "Mean brightness of an image, from 0 (black) to 1.",
            buckets=_TENTHS, registry=self.registry,
        )  # fmt: skip
        self.predicted = Counter(
            "headstart_predicted", f"Images by class, for models of {_MOST_CLASSES} at most.",
            ["label"], registry=self.registry,
        )  # fmt: skip
        info = Gauge(
            "headstart_model", "1; the labels name the export format and the number of classes.",
            ["format", "classes"], registry=self.registry,
        )  # fmt: skip
        info.labels(export_format, str(len(classes))).set(1)

    def classified(self, probabilities: Floats) -> None:
        """Count an image by its class and its confidence."""
        place = int(probabilities.argmax())
        self.confidence.observe(float(probabilities[place]))
        if len(self._classes) <= _MOST_CLASSES:
            self.predicted.labels(self._classes[place]).inc()

    def decoded(self, pixels: npt.NDArray[np.uint8]) -> None:
        """Count an image by its brightness."""
        self.brightness.observe(float(pixels[::_EVERY, ::_EVERY].mean()) / 255)

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
