"""Features of real photos by this pipeline, beside Keras' own ``predict``: seconds, memory, bits.

    KERAS_HOME=/path/to/keras python -m benchmarks.extraction --archive cats-dogs.zip --limit 500

(a) ``model.predict`` over ``image_dataset_from_directory``, MobileNetV2 with ImageNet weights
(b) ``python -m stages.extract_features`` with an empty feature store
(c) the same again: everything is cached
(d) decoding and inference of (b) alone: images in memory, features dropped

Each is a fresh process from start to exit, reading the images from the disk and decoding them;
(a) and (b) take turns. The two decoders give slightly different pixels, so bits are compared on the
pixels of (b): that is the difference of the engines alone. The effect of the decoders is printed
as well. (d) takes turns with (b) in one process, and shows what the rest of (b) costs; on a machine
with other work, the seconds of processors say more than the clock.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.checkout import (
    Archive,
    Checkout,
    Cost,
    Limit,
    Repeats,
    Size,
    photo_project,
    start,
    unpack,
)
from headstart._utils.files import read_json
from headstart._utils.machine import cores
from headstart.backbones.record import NETWORK, read_backbone
from headstart.datasets.manifests import SPLITS, read_split
from headstart.datasets.shards import ShardReader
from headstart.features.extraction import extract
from headstart.features.folder import read_features
from headstart.features.forward_passes import Engine, Function, Image, ShardImages, litert_engine
from headstart.features.store import FeatureStore
from headstart.images.resize import pixels


def main(
    archive: Archive,
    limit: Limit = None,
    repeats: Repeats = 1,
    size: Size = 224,
    alpha: float = 1.0,
    compared: Annotated[int, typer.Option("--compare", help="images to compare bits on")] = 400,
) -> None:
    """Measure all three in turn, compare features, and print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = folder / "photos"
        count = len(unpack(archive, photos, limit))
        checkout = photo_project(folder, photos, backbone__alpha=alpha, backbone__image_size=size)
        checkout.repro("sample")
        print(f"The backbone, once: {checkout.repro('backbone')[0]:.1f} s (not in the table).")
        shape = ["--size", str(size), "--alpha", str(alpha)]
        predict = [sys.executable, "-m", "benchmarks.in_keras", "predict"]
        extract = checkout.stage("extract_features")
        keras, cold = [], []
        for turn in range(repeats):
            target = str(folder / "keras.npy")
            keras.append(checkout.measure(*predict, str(photos), target, *shape)[0])
            checkout.environment["HEADSTART_CACHE"] = str(folder / f"store{turn}")
            cold.append(checkout.measure(*extract)[0])
        passes = checkout.statistics("extract_features")["passes_done"]
        warm = checkout.measure(*extract)[0]
        print(
            f"{count:,} photos of {archive.name}, {size} pixels, MobileNetV2 {alpha}, "
            f"{repeats} run(s) each"
        )
        print(f"{'':<52} {'seconds':>8} {'MB at most':>10} {'passes':>7}")
        show("(a) Keras: predict over image_dataset_from_directory", keras, count)
        show("(b) this pipeline, empty store", cold, passes)
        again = checkout.statistics("extract_features")["passes_done"]
        show("(c) this pipeline, again", [warm], again)
        ratios = [a.seconds / b.seconds for a, b in zip(keras, cold, strict=True)]
        print(f"(a) / (b): {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
        compare(size, compared, folder, checkout, [*predict, *shape])
        data = checkout.folder / "data"
        images = read_split(data / "manifests/sample.csv").drop_duplicates("image_id")
        with ShardReader(data / "images") as reader:
            profile(list(ShardImages(images, reader)), data / "backbone", folder, repeats)


def show(name: str, costs: Sequence[Cost], passes: int) -> None:
    """Print a line of the table."""
    seconds = statistics.median(cost.seconds for cost in costs)
    megabytes = max(cost.megabytes for cost in costs)
    print(f"{name:<52} {seconds:>8.1f} {megabytes:>9,.0f} {passes:>8,}")


def compare(
    size: int, compared: int, folder: Path, checkout: Checkout, predict: Sequence[str]
) -> None:
    """Print how far the features are from Keras', in standard deviations of each feature."""
    data = checkout.folder / "data"
    rows = read_split(data / "manifests/sample.csv")
    features = read_features(data / "features")
    ours = np.concatenate([features.array(split) for split in SPLITS])
    ids = [i for split in SPLITS for i in features.rows(split)["image_id"]]
    deviation = ours.std(axis=0, dtype=np.float64)
    moving = deviation > 0
    place = {image_id: index for index, image_id in enumerate(ids)}

    def difference(theirs: Any, image_ids: Sequence[str]) -> Any:
        mine = ours[[place[image_id] for image_id in image_ids]].astype(np.float64)
        return (np.abs(mine - theirs) / np.where(moving, deviation, 1))[:, moving]

    some = rows.drop_duplicates("image_id").head(compared)
    places = some[["shard", "offset", "bytes", "image_id"]].itertuples(index=False)
    with ShardReader(data / "images") as reader:
        decoded = [pixels(reader.read(*each), size, gray16_bits=None) for each in places]
    np.save(folder / "pixels.npy", np.stack(decoded), allow_pickle=False)
    checkout.run(*predict, str(folder / "pixels.npy"), str(folder / "same.npy"))
    same = difference(np.load(folder / "same.npy"), list(some["image_id"]))
    by_path = dict(zip(rows["path"], rows["image_id"], strict=True))
    names = read_json(folder / "keras.json")
    known = [index for index, name in enumerate(names) if name in by_path]
    theirs = np.load(folder / "keras.npy")[known]
    other = difference(theirs, [by_path[names[index]] for index in known])
    print(f"Largest difference on the same pixels ({len(some)} photos): {same.max():.1e} std")
    print(f"Mean with Keras' own decoder ({len(known)} photos): {other.mean():.2f} std")


class Spent:
    """Seconds of processors that a function takes, in all threads that call it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function, self._lock, self.seconds = function, threading.Lock(), 0.0

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the function."""
        start = time.thread_time()
        try:
            return self._function(*arguments, **named)
        finally:
            with self._lock:
                self.seconds += time.thread_time() - start


def profile(images: Sequence[Image], backbone: Path, folder: Path, repeats: int) -> None:
    """Print the cost of each part of (b), and what (d) takes of it."""
    record = read_backbone(backbone)
    engine = litert_engine(backbone / NETWORK, record.image_size, record.gray16_bits)
    contents = [image.read() for image in images]
    whole, alone = [], []
    for turn in range(repeats):
        with FeatureStore({"turn": turn}, record.feature_shape, folder / "profiled") as store:
            whole.append(timed(partial(extract, images, engine, store, "(b)")))
        alone.append(timed(partial(pass_through, contents, engine)))
    decode, read, functions = Spent(pixels), Spent(lambda reads: reads()), []

    def make() -> Spent:
        functions.append(Spent(engine.make()))
        return functions[-1]

    with FeatureStore({"turn": "parts"}, record.feature_shape, folder / "profiled") as store:
        commit = store.put_many = Spent(store.put_many)  # type: ignore[method-assign]
        timed_images = [image._replace(read=partial(read, image.read)) for image in images]
        _, total = timed(
            partial(extract, timed_images, replace(engine, make=make), store, "", decode=decode)
        )
    parts = {
        "decode and resize": decode.seconds,
        "inference": sum(function.seconds for function in functions),
        "read and SHA-256": read.seconds,
        "commit": commit.seconds,
    }
    print(f"\n{'(b), ms of processors per image':<52} {total / len(images) * 1000:>8.2f}")
    for name, seconds in {**parts, "rest": total - sum(parts.values())}.items():
        print(f"  {name:<50} {seconds / len(images) * 1000:>8.2f}")
    for name, place in (("seconds", 0), ("seconds of processors", 1)):
        ratios = sorted(d[place] / b[place] for b, d in zip(whole, alone, strict=True))
        shown = ", ".join(f"{ratio:.3f}" for ratio in ratios)
        print(f"{f'(d) / (b) in {name}; median {statistics.median(ratios):.3f}':<52} {shown}")
    print(f"Load of the machine: {os.getloadavg()[0]:.1f}")


def timed(action: Callable[[], object]) -> tuple[float, float]:
    """Return seconds, and seconds of processors, of this process."""
    start, cpu = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - start, time.process_time() - cpu


def pass_through(contents: Sequence[bytes], engine: Engine) -> None:
    """Decode images and pass them through the network, in as many threads as (b) uses."""
    functions: SimpleQueue[Function] = SimpleQueue()
    for _ in range(engine.count or cores()):
        functions.put(engine.make())

    def one(content: bytes) -> None:
        decoded = pixels(content, engine.size, gray16_bits=engine.gray16_bits)
        function = functions.get()
        function(decoded[None])
        functions.put(function)

    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(one, contents))


if __name__ == "__main__":
    start(main, __doc__)
