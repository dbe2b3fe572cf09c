"""New images: read, identified, and passed through the run's backbone once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from headstart._utils.contents import Contents
from headstart._utils.errors import HeadstartError, ImageError
from headstart._utils.files import sha256_bytes
from headstart._utils.progress import progress
from headstart._utils.threads import in_threads
from headstart.features.extraction import Passes, extract
from headstart.features.forward_passes import Image
from headstart.images.decode import Limits, inspect, opened, sniff
from headstart.incoming.known import KnownImages
from headstart.serving.inputs import Input, read

Reject = Callable[[Input, ImageError], None]


@dataclass(frozen=True)
class NewImages:
    """Usable images, each content once, in the order of the inputs.

    Attributes
    ----------
    inputs : list of Input
    ids : list of str
        Image ids.
    features : ndarray of shape (n, *feature_shape), float32
    passes : Passes
        Of this extraction.
    repeated, known : int
        Number of inputs left out: with the same bytes as another one, or as an image of the run.
    """

    inputs: list[Input]
    ids: list[str]
    features: npt.NDArray[np.float32]
    passes: Passes
    repeated: int
    known: int

    def files(self, limits: Limits) -> Contents:
        """Return the bytes of the images, which are read again one at a time."""
        rows = zip(self.inputs, self.ids, strict=True)
        return Contents([(read_unchanged, (one, image_id, limits)) for one, image_id in rows])


def new_images(
    inputs: Sequence[Input],
    run: KnownImages,
    limits: Limits,
    reject: Reject,
    known: Collection[str],
) -> NewImages:
    """Read images and return the features of those that the run does not have.

    Only images that the feature store lacks are decoded and go through the backbone.

    Parameters
    ----------
    inputs : sequence of Input
        Files.
    run : KnownImages
    limits : Limits
    reject : callable
        Called with every unusable input and the reason.
    known : collection of str
        Image ids of the run.
    """
    identified = _each(partial(_identity, limits=limits), inputs, reject, "Reading")
    first: dict[str, Input] = {}
    for one, image_id in identified:
        first.setdefault(image_id, one)
    repeated = len(identified) - len(first)
    asked = {image_id: one for image_id, one in first.items() if image_id not in known}
    with run.store() as store:
        absent = [asked[image_id] for image_id in store.missing(asked)]
        names = {one: image_id for image_id, one in asked.items()}
        usable = {
            one for one, _ in _each(partial(_decoded, limits=limits), absent, reject, "Checking")
        }
        for one in set(absent) - usable:
            del asked[names[one]]
        images = [
            Image(image_id, one.name, partial(read_unchanged, one, image_id, limits))
            for image_id, one in asked.items()
        ]
        passes = extract(images, run.engine, store, f"Features by {run.backbone.name}")
        features = store.array(list(asked))
    inside = len(first) - len(names)
    return NewImages(list(asked.values()), list(asked), features, passes, repeated, inside)


def _each(
    function: Callable[[Input], str], inputs: Sequence[Input], reject: Reject, title: str
) -> list[tuple[Input, str]]:
    """Apply a function to inputs in threads; return those that it accepts, with the results."""

    def one(item: Input) -> str | ImageError:
        try:
            return function(item)
        except ImageError as fault:
            return fault

    found = []
    with progress(len(inputs), title, "image") as done:
        for item, result in in_threads(one, inputs):
            if isinstance(result, ImageError):
                reject(item, result)
            else:
                found.append((item, result))
            done.update()
    return found


def _identity(one: Input, limits: Limits) -> str:
    """Return the image id of a file whose header keeps the limits."""
    content = read(one, limits)
    with opened(content, sniff(content, limits), limits):
        return sha256_bytes(content)


def _decoded(one: Input, limits: Limits) -> str:
    return inspect(read(one, limits), limits).format


def read_unchanged(one: Input, image_id: str, limits: Limits) -> bytes:
    """Return the bytes of an image that was identified before.

    Raises
    ------
    HeadstartError
        If it cannot be read any more, or has other bytes.
    """
    try:
        content = read(one, limits)
    except ImageError as fault:
        raise HeadstartError(f"{one.name} can no longer be read: {fault}. Run again.") from fault
    if sha256_bytes(content) != image_id:
        raise HeadstartError(
            f"{one.name} was changed while it was read. The features of other images are kept. "
            "Run again when nothing writes there."
        )
    return content
