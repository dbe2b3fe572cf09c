"""Cached extraction: images that the feature store lacks go through the frozen backbone once.

A run that is killed at any moment loses only the passes in flight. Features are read from the
store afterwards, in the order asked for, so they are the same bytes whether they were computed
now, last month, or in ten attempts.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from queue import SimpleQueue
from typing import Any

from headstart._utils.disk import require_room
from headstart._utils.machine import architecture, cores, keras_batch
from headstart._utils.progress import progress
from headstart.backbones.record import BackboneRecord
from headstart.features.forward_passes import (
    Cluster,
    Computed,
    Decode,
    Engine,
    ForwardPasses,
    Function,
    Image,
)
from headstart.features.store import FeatureStore, row_bytes
from headstart.features.views import RecordedViews
from headstart.images.resize import pixels, spec

_ATTEMPTS = 3
_PAGE = 4096
_ROOM = (
    "Free some room, or name a folder on another disk for the feature store in the environment "
    "variable HEADSTART_CACHE. The features that are cached already are kept."
)
_PACKAGES = {"litert": ("ai-edge-litert",), "keras": ("tensorflow", "keras")}


@dataclass(frozen=True)
class Passes:
    """The result of an extraction.

    Attributes
    ----------
    images : int
        Rows asked for; identical images count each.
    done, cached : int
        Distinct images that went through the backbone now, and that the store had.
    seconds : float
        Wall-clock time of the extraction.
    what : str
        The things that are counted: images, or views of images.
    computed : Computed or None
        What the workers of a cluster computed for the passes that were done; None without one.
    """

    images: int
    done: int
    cached: int
    seconds: float
    what: str = "images"
    computed: Computed | None = None

    def __str__(self) -> str:
        elsewhere = f"\n{self.computed}" if self.done and self.computed is not None else ""
        rate = f", {self.done / self.seconds:,.0f} per second" if self.done and self.seconds else ""
        twice = self.images - self.done - self.cached
        same = f" ({twice:,} identical to others)" if twice else ""
        return (
            f"{self.images:,} {self.what}{same}: {self.done:,} passed through the backbone, "
            f"{self.cached:,} cached ({self.seconds:.1f} s{rate}){elsewhere}"
        )


def fingerprint_record(
    backbone: BackboneRecord, engine: str, device: str = "cpu"
) -> dict[str, Any]:
    """Return everything but the image that decides the bits of a feature, as JSON values.

    The number format is not part of it: the store holds float32, whatever is written from it.

    Parameters
    ----------
    backbone : BackboneRecord
    engine : {"litert", "keras"}
    device : str
        ``cpu``, or the kind of GPU that the Keras engine runs on.
    """
    keras = engine == "keras"
    return {
        "backbone": backbone.name,
        "alpha": float(backbone.alpha),
        "cut": backbone.cut,
        "pooling": backbone.pooling,
        "preprocessing": backbone.preprocessing,
        "image_size": backbone.image_size,
        "weights_sha256": backbone.weights_sha256,
        "network_sha256": None if keras else backbone.tflite_sha256,
        "pixels": spec(backbone.gray16_bits),
        "view": 0,
        "view_seed": None,
        "engine": engine,
        "engine_versions": {name: metadata.version(name) for name in _PACKAGES[engine]},
        "machine": architecture(),
        "device": device,
        "batch": keras_batch(device) if keras else 1,
        "op_determinism": keras,
    }


def open_store(
    backbone: BackboneRecord, engine: Engine, views: RecordedViews | None = None
) -> FeatureStore:
    """Open the feature store of a backbone, or the one of its augmented views."""
    record = fingerprint_record(backbone, backbone.engine, engine.device)
    return FeatureStore(record if views is None else views.record(record), backbone.feature_shape)


def extract(
    images: Iterable[Image],
    engine: Engine,
    store: FeatureStore,
    desc: str,
    *,
    views: RecordedViews | None = None,
    workers: int | None = None,
    decode: Decode = pixels,
    cluster: Cluster | None = None,
) -> Passes:
    """Compute the features of every image, or of every view of it, that the store lacks.

    Parameters
    ----------
    images : iterable of Image
        Iterated several times, so give it no generator.
    engine : Engine
    store : FeatureStore
    desc : str
        Name of the progress bar.
    views : RecordedViews, optional
        Cache these views of the images, and not the images themselves.
    workers : int, optional
        Threads that decode and call; by default one per core.
    decode : callable
        From a file's bytes, the engine's size and its bits of gray to pixels.
    cluster : Cluster, optional
        Its workers compute, and this process records. The bits are the same.

    Raises
    ------
    HeadstartError
        Naming the image that could not be read, decoded or passed. All others that were finished
        are cached. Or, before the first pass, if the store's disk has no room for them.
    """
    start = time.perf_counter()
    everything = [image.image_id for image in images]
    distinct = list(dict.fromkeys(everything))
    keys = distinct if views is None else [key for name in distinct for key in views.keys(name)]
    done, repairs = 0, store.repairs
    computed = None if cluster is None else Computed()
    if missing := store.missing(keys):
        functions: SimpleQueue[Function] = SimpleQueue()
        forward = ForwardPasses(engine, functions, store.shape, decode, views)
        workers = workers or cores()
        with store.filling():
            # Asked again, because another process may have been filling it until now; and for all
            # of them if the store was found damaged in the meantime, and lost rows that it had.
            for _ in range(_ATTEMPTS):
                wanted = missing if store.repairs == repairs else keys
                repairs, missing = store.repairs, store.missing(wanted)
                # SQLite adds a page to a row at most, and empties its log as that grows.
                room = len(missing) * (row_bytes(store.shape) + _PAGE)
                require_room({store.path.parent: room}, desc, _ROOM)
                if functions.empty() and missing:
                    # One after another: loading a network is not safe in several threads.
                    most = min(engine.count or workers, -(-len(missing) // engine.batch))
                    for _ in range(most if cluster is None else 1):
                        functions.put(engine.make())
                with progress(total=len(missing), desc=desc, unit="image") as bar:
                    if cluster is None or computed is None:
                        forward.run(images, missing, store, bar, workers)
                    else:
                        cluster.run(forward, images, missing, store, bar, computed)
                done += len(missing)
                if store.repairs == repairs:
                    break
    seconds, cached = time.perf_counter() - start, max(0, len(keys) - done)
    if views is None:
        return Passes(len(everything), done, cached, seconds, computed=computed)
    asked = len(everything) * views.count
    return Passes(asked, done, cached, seconds, "views of images", computed)
