"""The state that the service's routes share: the model, its threads and the limits."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import ImageError
from headstart.images.dark import unfit_depth
from headstart.images.decode import Limits
from headstart.images.resize import pixels
from headstart.serving import rest
from headstart.serving.batcher import Batcher, BusyError
from headstart.serving.metrics import Metrics
from headstart.serving.models import Classifier, Floats
from headstart.serving.requests import Bodies, busy

LOG = logging.getLogger(__name__)
_NEARLY_BLACK = (
    "A 16-bit image uses %d bits, and the network gets the upper 8 of %d: nearly black. If the "
    "model was trained on stretched images, clients must stretch theirs in the same way; if not, "
    'train it with `backbone.gray16_bits` (docs/your-images.md, "Images of 12 bits in 16").'
)
_CUT = (
    "A 16-bit image uses %d bits, and the model was trained with `backbone.gray16_bits: %d`: "
    "brighter values are white. Send it images of the bits that it was trained on."
)


@dataclass(frozen=True)
class Settings:
    """Settings of the service.

    Attributes
    ----------
    name : str
        Name of the model in addresses.
    limits : Limits
        Limits of accepted images.
    max_body : int
        Largest body of a request, in bytes.
    max_images : int
        Maximum number of images per request.
    room : int
        Maximum number of images that wait or are being classified, of all requests.
    max_held : int
        Maximum bytes of all requests in progress.
    max_batch : int or None
        Images per batch; None: the best for the export format that runs.
    max_wait : float or None
        Seconds that an image waits for others; None: the best for the format.
    hosts, origins : tuple of str
        More names of this service, and origins of other pages that may use it.
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
        # A model that cannot run fails now, and the first request does not wait for its start.
        classifier(np.zeros((1, classifier.size, classifier.size, 3), np.uint8))
        self.metrics = Metrics(export_format=classifier.format, classes=classifier.classes)
        self.bodies = Bodies(settings.max_body, settings.max_held)
        # JSON becomes Python objects of many times its size, and is parsed on one core anyway.
        self.parser = threading.Lock()
        # TensorFlow classifies more images per second in batches; LiteRT runs them one by one.
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
                batch.append(self._pixels(item) if isinstance(item, bytes) else item)
            except ImageError as fault:
                results[place] = fault
        for image in batch:
            self.metrics.decoded(image)
        rows: Iterator[Floats] = iter(self.classifier(np.stack(batch)) if batch else ())
        return [next(rows) if result is None else result for result in results]

    def _pixels(self, content: bytes) -> npt.NDArray[np.uint8]:
        """Decode an image, and log if it is nearly black, or cut."""
        limits = self.settings.limits
        bits = self.classifier.gray16_bits
        decoded = pixels(content, self.classifier.size, limits, gray16_bits=bits)
        if (depth := unfit_depth(content, limits, bits)) is not None:
            LOG.warning(_CUT if depth.cut else _NEARLY_BLACK, depth.bits, depth.white)
        return decoded

    async def classify(self, items: Sequence[rest.Item]) -> list[Floats | ImageError]:
        """Return the probabilities of each image, or the reason why it cannot be read.

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
            if not isinstance(result, ImageError):
                self.metrics.classified(result)
            results.append(result)
        return results
