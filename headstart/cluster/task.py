"""What a worker does: forward passes of the images of one chunk. It imports no Dask.

Dask calls :func:`compute` and :func:`keep` by their import names. Arguments and answers are plain
data: texts, numbers, bytes, lists, dictionaries and one array.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, NotRequired, TypedDict

import numpy as np

from headstart._utils.errors import CorruptFileError, HeadstartError, SourceError
from headstart._utils.files import sha256_bytes, sha256_file
from headstart._utils.machine import architecture
from headstart.backbones.litert import LiteRTFunction
from headstart.datasets.remote_shards import RemoteShardReader, Wanted
from headstart.datasets.shards import ShardReader
from headstart.downloads.client import RetryPolicy
from headstart.features.cut_images import CutImages
from headstart.features.forward_passes import Engine, ForwardPasses, Function, Image
from headstart.features.store import Floats, fingerprint
from headstart.features.views import RecordedViews
from headstart.images.augmentation import SPEC
from headstart.images.resize import spec

#: Networks and jobs that a worker process remembers: of the plain images, the views, activations.
_REMEMBERED = 4
#: A worker that cannot reach the remote says so, and is sent the images.
_POLICY = RetryPolicy(attempts=2, pause=0.5, connect=5.0, read=10.0, total=20.0)


class Job(TypedDict):
    """Everything about a worker's task but the images.

    ``run`` names the extraction, ``record`` is the feature store's, ``versions`` are the packages
    of runtime.txt and headstart's own, ``network`` is the path of the converted network, ``images``
    the folder of shards, and ``views`` what :meth:`headstart.features.views.RecordedViews.plain`
    returns.
    """

    run: str
    record: dict[str, Any]
    versions: dict[str, str]
    network: str
    network_sha256: str
    images: str
    size: int
    gray16_bits: int | None
    shape: list[int]
    views: dict[str, Any] | None


class Item(TypedDict):
    """An image of a chunk: its views, its place in the shards, and its bytes if they are sent.

    ``address`` is that of the shard in object storage, if it is there, too.
    """

    image_id: str
    name: str
    views: list[int]
    place: tuple[int, int, int] | None
    address: str | None
    content: bytes | None


class Answer(TypedDict):
    """The answer to a chunk: ``features``, or the reason why there are none.

    ``refused``: this worker would compute something else, or cannot compute. ``lacks``: it needs
    the ``network`` or the ``images`` as bytes, because ``why``. ``cut`` are the bits that images
    need beyond ``gray16_bits``.
    """

    features: NotRequired[Floats]
    seconds: NotRequired[float]
    cut: NotRequired[dict[str, int]]
    refused: NotRequired[str]
    lacks: NotRequired[str]
    why: NotRequired[str]


class _Ready(NamedTuple):
    """A job that this worker may do: its network, and the functions that are not in use."""

    network: Path | bytes
    functions: SimpleQueue[Function]
    reader: ShardReader
    addresses: dict[int, str]
    remote: RemoteShardReader


_networks: dict[str, bytes] = {}
_ready: dict[str, _Ready] = {}


def keep(network: bytes) -> str:
    """Keep the bytes of a network that this worker cannot read as a file; return their SHA-256."""
    digest = sha256_bytes(network)
    _networks[digest] = network
    while len(_networks) > _REMEMBERED:
        _networks.pop(next(iter(_networks)))
    return digest


def compute(job: Job, items: Sequence[Item]) -> Answer:
    """Return the features of images, and of their views, in the order of ``items``."""
    start = time.perf_counter()
    ready = _ready.get(job["run"])
    if ready is None:
        if reason := refusal(job):
            return {"refused": reason}
        network = _networks.get(job["network_sha256"]) or _network(job)
        if network is None:
            return {"lacks": "network", "why": f"there is no such network at {job['network']}"}
        ready = _remembered(job, network)
    try:
        contents = _contents(items, ready)
    except HeadstartError as error:
        return {"lacks": "images", "why": str(error)}
    cut = CutImages()
    with _function(ready) as functions:
        forward = ForwardPasses(
            Engine(functions.get, job["size"], job["gray16_bits"]),
            functions,
            tuple(job["shape"]),
            cut,
            None if job["views"] is None else RecordedViews.of_plain(job["views"]),
        )
        results = forward.results(
            (Image(item["image_id"], item["name"], partial(bytes, content)), view)
            for item, content in zip(items, contents, strict=True)
            for view in item["views"]
        )
    features = np.stack([row for _, row in results])
    return {"features": features, "seconds": time.perf_counter() - start, "cut": cut.bits}


def refusal(job: Job) -> str:
    """Return why this worker must not do a job; "" if it may.

    It must have the versions of runtime.txt, and all that decides the bits of a feature, except the
    image, must be the same here as where the features are recorded.
    """
    versions = job["versions"]
    here = {name: _version(name) for name in versions}
    if wrong := [name for name in versions if here[name] != versions[name]]:
        return "its packages differ: " + ", ".join(
            f"{name} {here[name]} instead of {versions[name]}" for name in sorted(wrong)
        )
    own = _own_record(job)
    if fingerprint(own) == fingerprint(job["record"]):
        return ""
    differ = [name for name, value in job["record"].items() if own.get(name) != value]
    return "its fingerprint differs: " + ", ".join(
        f"{name} is {own.get(name)} instead of {job['record'][name]}" for name in sorted(differ)
    )


def _own_record(job: Job) -> dict[str, Any]:
    """Return the record with this worker's values for all that a machine or its code decides."""
    own = {
        **job["record"],
        "network_sha256": job["network_sha256"],
        "engine_versions": {name: _version(name) for name in job["record"]["engine_versions"]},
        "machine": architecture(),
        "pixels": spec(job["gray16_bits"]),
    }
    return own | ({"augment_spec": SPEC} if job["views"] is not None else {})


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _network(job: Job) -> Path | None:
    """Return the network's file, if this worker has the same."""
    path = Path(job["network"])
    try:
        return path if sha256_file(path) == job["network_sha256"] else None
    except OSError:
        return None


def _remembered(job: Job, network: Path | bytes) -> _Ready:
    # A reader for each extraction: an older one would hold shards open that were replaced since.
    addresses: dict[int, str] = {}
    reader, remote = ShardReader(Path(job["images"])), RemoteShardReader(addresses, policy=_POLICY)
    ready = _ready[job["run"]] = _Ready(network, SimpleQueue(), reader, addresses, remote)
    while len(_ready) > _REMEMBERED:
        _ready.pop(next(iter(_ready))).reader.close()
    return ready


@contextlib.contextmanager
def _function(ready: _Ready) -> Iterator[SimpleQueue[Function]]:
    """Yield a queue of one function, which no other thread of this worker uses meanwhile."""
    queue: SimpleQueue[Function] = SimpleQueue()
    try:
        queue.put(ready.functions.get_nowait())
    except Empty:
        queue.put(LiteRTFunction(ready.network))
    try:
        yield queue
    finally:
        ready.functions.put(queue.get())


def _contents(items: Sequence[Item], ready: _Ready) -> list[bytes]:
    """Return the checked bytes of images: sent, from this worker's shards, or from far ones."""
    found: dict[str, bytes] = {}
    far: dict[int, list[Wanted]] = {}
    for item in items:
        try:
            found[item["image_id"]] = _content(item, ready.reader)
        except CorruptFileError:
            if item["place"] is None or item["address"] is None:
                raise
            shard, offset, length = item["place"]
            ready.addresses[shard] = item["address"]
            far.setdefault(shard, []).append(Wanted(offset, length, item["image_id"]))
    for shard, wanted in far.items():
        try:
            contents = ready.remote.read_several(shard, wanted)
        except SourceError as error:  # Its remedies are those of a download.
            raise CorruptFileError(
                f"{ready.addresses[shard]} cannot be read from this worker "
                f"({error.__cause__ or 'no answer, no access, or no package for it'})"
            ) from error
        found.update(zip((each.image_id for each in wanted), contents, strict=True))
    return [found[item["image_id"]] for item in items]


def _content(item: Item, reader: ShardReader) -> bytes:
    """Return the checked bytes of an image: those that were sent, or from this worker's shards."""
    content = item["content"]
    if content is None:
        if item["place"] is None:
            raise CorruptFileError(f"the image {item['image_id']} lies in no shard")
        return reader.read(*item["place"], item["image_id"])
    if sha256_bytes(content) != item["image_id"]:
        raise CorruptFileError(f"the bytes of the image {item['image_id']} did not arrive intact")
    return content
