"""Forward passes on a cluster: this process hands out chunks, checks the answers and records them.

Every feature is accepted once, by the one process that writes the store. A worker that ends, falls
silent, fails or answers wrongly costs the chunks that it has: others compute them.
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from headstart._utils.errors import HeadstartError
from headstart._utils.files import md5_file, sha256_file
from headstart._utils.progress import Progress
from headstart._utils.tables import counted
from headstart.cluster import task
from headstart.cluster.chunks import Chunk, Chunks
from headstart.cluster.task import Answer, Job
from headstart.cluster.workers import (
    Connection,
    LostError,
    Patience,
    Pending,
    SchedulerLostError,
    Sent,
    Worker,
    Workers,
)
from headstart.datasets.remote_shards import object_address
from headstart.datasets.shards import shard_name
from headstart.features.cut_images import CutImages
from headstart.features.forward_passes import Commits, Computed, ForwardPasses, Image
from headstart.features.store import FeatureStore, Floats

#: One pass of this many is computed a second time, in this process, and must have the same bits.
SAMPLE = 64
_TICK = 0.2


class ClusterPasses:
    """Runs the forward passes of an extraction on the workers of a cluster.

    Parameters
    ----------
    connect : callable
        Returns the connection; called when an image is missing.
    images : Path
        Folder of shards, which workers on this machine or on a shared disk read themselves.
    versions : mapping of str to str
        The packages that workers must have.
    patience : Patience
    remote : str, optional
        Address of a DVC remote in object storage, where workers without the folder read the shards.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        images: Path,
        versions: Mapping[str, str],
        patience: Patience = Patience(),  # noqa: B008 - it is frozen
        remote: str | None = None,
    ) -> None:
        self._connect, self._patience = connect, patience
        self._images, self._versions = images.absolute(), dict(versions)
        self._remote = remote

    def run(
        self, forward: ForwardPasses, images: Iterable[Image], missing: Sequence[str],
        store: FeatureStore, bar: Progress, computed: Computed,
    ) -> None:  # fmt: skip
        """Compute the missing features of ``images`` and commit them, one chunk at a time.

        Raises
        ------
        HeadstartError
            Naming an image that has no features; or if the scheduler is lost, or there is no worker
            that may compute. What was committed is kept.
        """
        if not missing:
            return
        engine, views = forward.engine, forward.views
        if engine.network is None:
            raise HeadstartError(
                "Only the engine litert runs on a cluster. Nothing was computed. Set "
                "`extract_features.cluster: null` and run again."
            )
        job: Job = {
            "run": uuid.uuid4().hex,
            "record": store.record,
            "versions": self._versions,
            "network": str(engine.network.absolute()),
            "network_sha256": sha256_file(engine.network),
            "images": str(self._images),
            "size": engine.size,
            "gray16_bits": engine.gray16_bits,
            "shape": list(store.shape),
            "views": None if views is None else views.plain(),
        }
        chunks = Chunks(images, missing, store.shape)
        records = _Records(forward, store, bar, computed, len(missing))
        address = None if self._remote is None else cache(partial(self._address, self._remote))
        _Extraction(self._connect(), self._patience, job, chunks, records, address).run()

    def _address(self, remote: str, shard: int) -> str:
        return object_address(remote, md5_file(self._images / shard_name(shard)))


class _Records:
    """The recorded features: accepted from a worker, or computed here."""

    def __init__(
        self, forward: ForwardPasses, store: FeatureStore, bar: Progress, computed: Computed,
        total: int,
    ) -> None:  # fmt: skip
        self.forward, self.computed = forward, computed
        self.total = self.left = total
        self._store, self._bar, self._commits = store, bar, Commits(store, bar)

    def accept(self, chunk: Chunk, features: Iterable[Floats]) -> None:
        """Commit the features of a chunk."""
        self._commits.add(list(zip(chunk.keys, features, strict=True)))
        self._commits.commit()
        chunk.accepted = True
        self.left -= len(chunk.wanted)

    def compute(self, chunk: Chunk) -> None:
        """Compute and commit a chunk in this process; raise if an image cannot be computed."""
        rows = [row for _, row in self.forward.results(chunk.wanted)]
        self.computed.passes += len(rows)
        self.accept(chunk, rows)

    def withdraw(self, keys: Sequence[str]) -> None:
        """Take accepted features back."""
        self._store.withdraw(keys)
        self._bar.update(-len(keys))
        self.left += len(keys)
        self.computed.withdrawn += len(keys)

    def fault(self, worker: Worker, chunk: Chunk, answer: Answer) -> str:
        """Return what is wrong with the features of a chunk; "" if nothing is, or was looked at."""
        if malformed := _malformed(answer, (len(chunk.wanted), *self._store.shape)):
            return malformed
        features = answer["features"]
        if worker.unchecked is not None and worker.unchecked + len(features) < SAMPLE:
            worker.unchecked += len(features)
            return ""
        index = int(chunk.wanted[0][0].image_id[-8:], 16) % len(features)
        image, view = chunk.wanted[index]
        [(_, own)] = self.forward.results([(image, view)])
        self.computed.passes += 1
        worker.unchecked = 0
        if own.tobytes() == features[index].tobytes():
            return ""
        return (
            f"its features of the image {image.name!r} differ from those of this machine by up to "
            f"{float(np.abs(own - features[index]).max()):.2g}"
        )


class _Extraction:
    """One extraction: hands out chunks, and takes the answers, until all are accepted."""

    def __init__(
        self, connection: Connection, patience: Patience, job: Job, chunks: Chunks,
        records: _Records, address: Callable[[int], str] | None,
    ) -> None:  # fmt: skip
        self._connection, self._patience, self._job = connection, patience, job
        self._address = address
        self._chunks, self._records = chunks, records
        self._workers = Workers(connection, patience)
        self._ended: SimpleQueue[Pending] = SimpleQueue()
        self._given: dict[Pending, Worker] = {}
        self._waited = False

    def run(self) -> None:
        """Return when every feature is recorded."""
        try:
            while self._records.left:
                for worker in self._workers.look():
                    self._others_compute(worker, "has ended", forget=True)
                self._require_workers()
                while (free := self._workers.free()) is not None and self._hand_out(free):
                    pass
                self._receive()
                for worker in self._workers.fallen_silent():
                    silence = f"has not answered for {time.monotonic() - worker.heard:.0f} s"
                    self._others_compute(worker, silence, forget=False)
        except SchedulerLostError as error:
            raise self._stopped(
                f"The scheduler of the cluster {self._connection.name} has ended or cannot be "
                f"reached any more ({error})",
                "Start the scheduler and its workers again (docs/scale-out.md)",
            ) from error
        finally:
            for pending, worker in self._given.items():
                self._records.computed.unanswered += _passes(worker.sent[pending])
                pending.release()

    def _hand_out(self, worker: Worker) -> bool:
        """Give a worker its next chunk; return False if nothing is left."""
        chunk = self._chunks.take(worker.seconds_per_pass, self._workers.threads)
        if chunk is None:
            return False
        try:
            items = chunk.items(
                contents=worker.needs_bytes,
                address=None if worker.needs_bytes else self._address,
            )
        except Exception:  # noqa: BLE001 - computing it here names the image and the reason
            self._records.compute(chunk)
            return True
        self._send(worker, chunk, task.compute, self._job, items)
        return True

    def _send(self, worker: Worker, chunk: Chunk | None, function: Any, *arguments: Any) -> None:
        pending = self._connection.submit(worker.address, self._ended.put, function, *arguments)
        worker.give(pending, Sent(chunk, worker.needs_bytes, time.monotonic()))
        self._given[pending] = worker

    def _receive(self) -> None:
        """Take the next answer, if one comes soon."""
        try:
            pending = self._ended.get(timeout=_TICK)
        except Empty:
            return
        worker = self._given.pop(pending, None)
        if worker is None:  # Its worker has been given up.
            return
        sent = worker.answered(pending)
        try:
            answer = pending.outcome(self._patience.answer)
        except LostError:
            self._records.computed.unanswered += _passes(sent)
            self._put_back(sent)
        except Exception as error:  # noqa: BLE001 - whatever the worker's Python raised
            self._failed(worker, sent, error)
        else:
            if sent.chunk is not None:
                self._judge(worker, sent.chunk, answer, contents=sent.contents)
        pending.release()

    def _judge(self, worker: Worker, chunk: Chunk, answer: Answer, *, contents: bool) -> None:
        """Accept the answer to a chunk, or give the chunk to another worker."""
        lacks = answer.get("lacks")
        if "refused" in answer:
            self._dismiss(worker, answer["refused"])
        elif lacks == "network" and not worker.given_network:
            worker.given_network = True
            self._send(worker, None, task.keep, Path(self._job["network"]).read_bytes())
        elif lacks == "images" and not contents:
            worker.needs_bytes = True
            if self._address is not None:
                _say(f"Worker {worker.address} is sent images, because: {answer.get('why')}")
        elif lacks is not None:
            self._dismiss(worker, f"it lacks the {lacks}: {answer.get('why')}")
        else:
            self._records.computed.passes += len(chunk.wanted)
            if chunk.accepted:
                return
            fault = self._records.fault(worker, chunk, answer)
            if not fault:
                self._accept(worker, chunk, answer)
                return
            self._withdraw(worker, fault)
        if not chunk.accepted:
            self._chunks.put_back(chunk)

    def _accept(self, worker: Worker, chunk: Chunk, answer: Answer) -> None:
        self._records.accept(chunk, answer["features"])
        if isinstance(self._records.forward.decode, CutImages):
            self._records.forward.decode.bits.update(answer["cut"])
        self._records.computed.workers += not worker.accepted
        worker.accepted += map(bytes.fromhex, chunk.keys)
        worker.seconds_per_pass = answer["seconds"] / len(chunk.wanted)

    def _withdraw(self, worker: Worker, fault: str) -> None:
        """Dismiss a worker with wrong features, and compute again what it gave before."""
        keys = [key.hex() for key in worker.accepted]
        self._records.withdraw(keys)
        self._chunks.want(keys)
        before = counted(len(keys), "feature")
        self._dismiss(worker, f"{fault}; {before} that it gave before are computed again")

    def _failed(self, worker: Worker, sent: Sent, error: Exception) -> None:
        """Compute the chunk here, which raises if an image is to blame; else dismiss the worker."""
        if sent.chunk is not None and not sent.chunk.accepted:
            self._records.compute(sent.chunk)
        self._dismiss(worker, f"it failed: {type(error).__name__}: {error}")

    def _dismiss(self, worker: Worker, reason: str) -> None:
        self._workers.dismiss(worker, reason)
        self._others_compute(worker, f"gets no more work, because {reason}", forget=True)

    def _others_compute(self, worker: Worker, what: str, *, forget: bool) -> None:
        """Put the chunks of a worker back; wait for its answers unless they are to be forgotten."""
        _say(f"Worker {worker.address} {what}.")
        for pending, sent in list(worker.sent.items()):
            self._put_back(sent)
            if forget:
                self._records.computed.unanswered += _passes(sent)
                del self._given[pending], worker.sent[pending]
                pending.release()

    def _put_back(self, sent: Sent) -> None:
        if sent.chunk is not None and not sent.chunk.accepted:
            self._chunks.put_back(sent.chunk)

    def _require_workers(self) -> None:
        """Wait for a worker; raise if all were refused, or none comes."""
        since, name = self._workers.idle_since, self._connection.name
        if since is None:
            return
        if self._workers.dismissed and not any(self._workers):
            reasons = "\n".join(f"  - {w}: {why}" for w, why in self._workers.dismissed.items())
            raise self._stopped(
                f"No worker of the cluster {name} may compute:\n{reasons}\n",
                "Install what this project's requirements.lock names there, and restart the "
                "workers; or run without them (`HEADSTART_CLUSTER=none`)",
            )
        if time.monotonic() - since > self._patience.workers:
            seconds = f"{self._patience.workers:.0f} s"
            raise self._stopped(
                f"No worker of the cluster {name} has answered for {seconds}",
                self._connection.remedy,
            )
        if not self._waited:
            self._waited = True
            _say(f"Waiting for a worker of the cluster {name}. {self._connection.remedy}.")

    def _stopped(self, what: str, remedy: str) -> HeadstartError:
        kept = self._records.total - self._records.left
        return HeadstartError(
            f"{what}. {kept:,} of {self._records.total:,} features were computed, and are kept. "
            f"{remedy}; then run again: it resumes."
        )


def _malformed(answer: Answer, expected: tuple[int, ...]) -> str:
    features = answer.get("features")
    if not isinstance(features, np.ndarray) or features.dtype != np.float32:
        return "its answer holds no float32 features"
    if not isinstance(answer.get("seconds"), float) or not isinstance(answer.get("cut"), dict):
        return "its answer lacks what belongs to features"
    if features.shape != expected:
        return f"its features have the shape {features.shape}, and {expected} was expected"
    return "" if np.isfinite(features).all() else "its features are not finite"


def _passes(sent: Sent) -> int:
    return 0 if sent.chunk is None else len(sent.chunk.wanted)


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
