"""What the service's routes share: the model, the threads that run it, and the bounds."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from headstart._utils.errors import ImageError
from headstart.images.decode import Limits
from headstart.images.resize import pixels
from headstart.serving import rest
from headstart.serving.batcher import Batcher, BusyError
from headstart.serving.bodies import Bodies
from headstart.serving.classifier import Classifier, Floats
from headstart.serving.metrics import Metrics
from headstart.serving.refusals import busy


@dataclass(frozen=True)
class Settings:
    """How the service behaves.

    Attributes
    ----------
    name : str
        Of the model, in addresses.
    limits : Limits
        What is accepted as an image.
    max_body : int
        Bytes of a request.
    max_images : int
        Images of a request.
    room : int
        Images of all requests that wait or are worked on.
    max_held : int
        Bytes of all requests that are being answered.
    max_batch : int or None
        Images of a batch; None: what the form that runs likes best.
    max_wait : float or None
        Seconds that an image waits for others; None: likewise.
    hosts, origins : tuple of str
        Further names of this service, and origins of pages that may use it.
    """

    name: str = "headstart"
    limits: Limits = field(default_factory=Limits)
    max_body: int = 32_000_000
    max_images: int = 64
    room: int = 256
    max_held: int = 256_000_000
    max_batch: int | None = None
    max_wait: float | None = None
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()


class Service:
    """A model that is being served."""

    def __init__(self, classifier: Classifier, settings: Settings) -> None:
        self.classifier, self.settings = classifier, settings
        # A model that cannot run is told now, and the first request does not wait for its start.
        classifier(np.zeros((1, classifier.size, classifier.size, 3), np.uint8))
        self.metrics = Metrics(form=classifier.form, classes=len(classifier.classes))
        self.bodies = Bodies(settings.max_body, settings.max_held)
        # JSON becomes Python objects of many times its size, and is parsed on one core anyway.
        self.parser = threading.Lock()
        # TensorFlow does more images a second in a batch; LiteRT passes one after the other.
        alone = classifier.batch == 1
        wait = (0.0 if alone else 0.005) if settings.max_wait is None else settings.max_wait
        self.batcher: Batcher[rest.Item, Floats] = Batcher(
            self._run,
            threads=classifier.calls,
            max_batch=settings.max_batch or classifier.batch,
            max_wait=wait,
            room=settings.room,
            seen=self.metrics.batch.observe,
        )
        self.metrics.held.set_function(lambda: self.batcher.held)

    def _run(self, items: Sequence[rest.Item]) -> list[Floats | Exception]:
        """Decode and classify, in one of the batcher's threads."""
        results: list[Floats | Exception | None] = [None] * len(items)
        batch = []
        for place, item in enumerate(items):
            try:
                batch.append(
                    pixels(item, self.classifier.size, self.settings.limits)
                    if isinstance(item, bytes)
                    else item
                )
            except ImageError as fault:
                results[place] = fault
        rows: Iterator[Floats] = iter(self.classifier(np.stack(batch)) if batch else ())
        return [next(rows) if result is None else result for result in results]

    async def classify(self, items: Sequence[rest.Item]) -> list[Floats | ImageError]:
        """Probabilities of each image, or why it cannot be read.

        Raises
        ------
        RefusedError
            503 if there is no room.
        """
        try:
            futures = self.batcher.submit(items)
        except BusyError:
            raise busy() from None
        found = await asyncio.gather(
            *(asyncio.wrap_future(future) for future in futures), return_exceptions=True
        )
        results: list[Floats | ImageError] = []
        for result in found:
            if isinstance(result, BaseException) and not isinstance(result, ImageError):
                raise result
            outcome = result.reason if isinstance(result, ImageError) else "classified"
            self.metrics.images.labels(outcome).inc()
            results.append(result)
        return results
