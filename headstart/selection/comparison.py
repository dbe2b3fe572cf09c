"""Backbones on a project's own images: prepared, run over the images once, probed and timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headstart._utils.errors import HeadstartError
from headstart._utils.progress import progress
from headstart.api import backbones
from headstart.backbones.litert import LiteRTFunction
from headstart.backbones.record import NETWORK, WEIGHTS, BackboneRecord
from headstart.datasets.shards import ShardReader
from headstart.features.extraction import Passes, extract, open_store
from headstart.features.folder import require_rows
from headstart.features.forward_passes import ShardImages
from headstart.features.store import FeatureStore
from headstart.images.resize import pixels
from headstart.keras.networks.engine import engine as running
from headstart.selection.candidates import Candidate
from headstart.selection.choice import Measured, Scores
from headstart.selection.guesses import Guesses, Images, Probing

#: Training images on which forward passes are timed.
TIMED = 32


@dataclass(frozen=True)
class Prepared:
    """A backbone whose network is ready to run.

    Attributes
    ----------
    candidate : Candidate
    folder : Path
        In the cache folder, outside of the project.
    record : BackboneRecord
    """

    candidate: Candidate
    folder: Path
    record: BackboneRecord

    @cached_property
    def file(self) -> Path:
        """The file that is run."""
        name = NETWORK if self.record.engine == "litert" else WEIGHTS
        return self.folder / name

    def store(self) -> FeatureStore:
        """Open the feature store, the one that the pipeline uses for this backbone."""
        return open_store(self.record, running(self.folder, self.record))


def prepare(
    candidates: Sequence[Candidate], engine: backbones.Engine, seed: int
) -> Sequence[Prepared]:
    """Convert each backbone, unless that was done before.

    Parameters
    ----------
    candidates : sequence of Candidate
    engine : {"litert", "keras"}
    seed : int
        Draws random weights.

    Raises
    ------
    HeadstartError
        With a line for each backbone that cannot be obtained; the others are kept.
    """
    found, faults = [], []
    with progress(total=len(candidates), desc="Preparing", unit="backbone") as bar:
        for candidate in candidates:
            try:
                found.append(Prepared(candidate, *backbones.obtain(candidate.params, engine, seed)))
            except HeadstartError as error:
                faults.append(f"{candidate.label}: {error}")
            bar.update()
    if faults:
        raise HeadstartError(
            f"{len(candidates) - len(found)} of {len(candidates)} backbones cannot be compared. No "
            "image went through any of them. Correct or leave out:\n" + "\n".join(faults)
        )
    return found


@dataclass(frozen=True)
class Comparison:
    """Images, and backbones to compare on them.

    Attributes
    ----------
    images : Images
    folder : Path
        The shards.
    prepared : sequence of Prepared
    seed : int
        Of params.yaml.
    say : callable
        Receives a line about the forward passes of each backbone.
    """

    images: Images
    folder: Path
    prepared: Sequence[Prepared]
    seed: int
    say: Callable[[str], None]

    def measure(self) -> list[Measured]:
        """Measure all backbones on training and validation images; no test image is read.

        Raises
        ------
        HeadstartError
            If a split has no images, or an image cannot be read.
        """
        for split in ("train", "validation", "test"):
            require_rows(split, len(self.images.of(split)))
        if len(self.images.classes) < 2:
            raise HeadstartError("There is only one class: there is nothing to compare.")
        passes = [self._extract(one, "train", "validation") for one in self.prepared]
        guesses = self._guesses()
        times = self._milliseconds()
        return [
            Measured(
                candidate=one.candidate,
                record=one.record,
                passes=each,
                validation=self._scores("validation", guess),
                milliseconds=ms,
                megabytes=one.file.stat().st_size / 1e6,
            )
            for one, each, guess, ms in zip(self.prepared, passes, guesses, times, strict=True)
        ]

    def tested(self, measured: Measured) -> Measured:
        """Return the measurement with the scores on the test images, which are extracted now."""
        one = next(each for each in self.prepared if each.candidate is measured.candidate)
        passes = self._extract(one, "test")
        with one.store() as store:
            probing = Probing(self.images, store, self.seed)
            strength = probing.guesses("validation").strength
            test = self._scores("test", probing.guesses("test", strength))
        return replace(measured, passes=_sum(measured.passes, passes), test=test)

    def _extract(self, one: Prepared, *splits: str) -> Passes:
        engine = running(one.folder, one.record)
        with ShardReader(self.folder) as reader, open_store(one.record, engine) as store:
            images = ShardImages(self.images.of(*splits), reader)
            found = extract(images, engine, store, f"Features by {one.candidate.label}")
        self.say(f"{one.candidate.label}, {' and '.join(splits)}: {found}")
        return found

    def _guesses(self) -> list[Guesses]:
        found = []
        with progress(total=len(self.prepared), desc="Probing", unit="backbone") as bar:
            for one in self.prepared:
                with one.store() as store:
                    found.append(Probing(self.images, store, self.seed).guesses("validation"))
                bar.update()
        return found

    def _scores(self, split: str, guesses: Guesses) -> Scores:
        labels = self.images.labels(split)
        return Scores(np.array(guesses.linear) == labels, np.array(guesses.nearest) == labels)

    def _milliseconds(self) -> list[float]:
        """Return the median milliseconds of a forward pass through each backbone, on one thread.

        They take turns on each image, so that other load on the machine slows all of them down.
        """
        rows = self.images.of("train")
        chosen = rows.iloc[np.linspace(0, len(rows) - 1, min(TIMED, len(rows)), dtype=int)]
        places = chosen[["shard", "offset", "bytes", "image_id"]].itertuples(index=False)
        with ShardReader(self.folder) as reader:
            contents = [reader.read(*place) for place in places]
        functions = [_timed(one) for one in self.prepared]
        spent: list[list[float]] = [[] for _ in functions]
        for number, content in enumerate([contents[0], *contents]):
            for function, seconds in zip(functions, spent, strict=True):
                taken = function(content)
                if number:  # The first round warms up.
                    seconds.append(taken)
        return [1000 * float(np.median(seconds)) for seconds in spent]


def _timed(one: Prepared) -> Callable[[bytes], float]:
    """Return a function from a file's bytes to the seconds of its pass, without its decoding.

    LiteRT computes in the calling thread, whose own time does not grow when the machine is busy.
    """
    record, clock = one.record, time.thread_time
    run: Callable[[npt.NDArray[np.uint8]], object]
    batch = 1
    if record.engine == "litert":
        run = LiteRTFunction(one.file)
    else:
        clock = time.perf_counter
        engine = running(one.folder, record)
        run, batch = engine.make(), engine.batch

    def seconds(content: bytes) -> float:
        image = pixels(content, record.image_size, gray16_bits=record.gray16_bits)
        images = np.repeat(image[np.newaxis], batch, axis=0)
        start = clock()
        run(images)
        return (clock() - start) / batch

    return seconds


def _sum(one: Passes, other: Passes) -> Passes:
    return Passes(
        one.images + other.images,
        one.done + other.done,
        one.cached + other.cached,
        one.seconds + other.seconds,
    )
