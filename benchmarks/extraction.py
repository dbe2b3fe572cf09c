"""Features of real photos by this pipeline, beside Keras' own ``predict``: seconds, memory, bits.

    KERAS_HOME=/path/to/keras python -m benchmarks.extraction --archive cats-dogs.zip --limit 1000

(a) ``model.predict`` over ``image_dataset_from_directory``, MobileNetV2 with ImageNet weights
(b) ``python -m stages.extract_features`` with an empty feature store
(c) the same again: everything is cached

Each is a fresh process from start to exit, reading the images from the disk and decoding them;
(a) and (b) take turns. The two decoders give slightly different pixels, so bits are compared on the
pixels of (b): that is the difference of the engines alone. The effect of the decoders is printed
as well.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.checkout import Checkout, Cost, keras_home, parser, unpack
from headstart._utils.files import read_json
from headstart.datasets.manifests import SPLITS, read_split
from headstart.datasets.shards import ShardReader
from headstart.features.folder import read_features
from headstart.images.resize import pixels


def main() -> None:
    """Measure and print the table."""
    built = parser(__doc__)
    built.add_argument("--archive", type=Path, required=True, help="zip of two class folders")
    built.add_argument("--limit", type=int, help="images in all; default: all")
    built.add_argument("--repeats", type=int, default=1, help="runs of (a) and of (b), in turn")
    built.add_argument("--size", type=int, default=224, help="pixels per side")
    built.add_argument("--alpha", type=float, default=1.0)
    built.add_argument("--compare", type=int, default=400, help="images to compare bits on")
    options = built.parse_args()
    home = keras_home()
    with tempfile.TemporaryDirectory() as folder:
        measure(options, Path(folder), home)


def measure(options: argparse.Namespace, folder: Path, home: Path) -> None:
    """Prepare, measure in turn, compare, print."""
    photos = folder / "photos"
    per_class = options.limit // 2 if options.limit else None
    count = len(unpack(options.archive, photos, per_class))
    checkout = Checkout(folder / "project", folder / "store", home)
    checkout.set(
        download__source="folder", download__location=str(photos), backbone__name="mobilenet_v2",
        backbone__alpha=options.alpha, backbone__weights="imagenet",
        backbone__image_size=options.size,
    )  # fmt: skip
    checkout.repro("sample")
    print(f"The backbone, once: {checkout.repro('backbone')[0]:.1f} s (not in the table).")
    shape = ["--size", str(options.size), "--alpha", str(options.alpha)]
    predict = [sys.executable, "-m", "benchmarks.in_keras", "predict"]
    extract = checkout.stage("extract_features")
    keras, cold = [], []
    for turn in range(options.repeats):
        target = str(folder / "keras.npy")
        keras.append(checkout.measure(*predict, str(photos), target, *shape)[0])
        checkout.environment["HEADSTART_CACHE"] = str(folder / f"store{turn}")
        cold.append(checkout.measure(*extract)[0])
    passes = checkout.statistics("extract_features")["passes_done"]
    warm = checkout.measure(*extract)[0]
    print(
        f"{count:,} photos of {options.archive.name}, {options.size} pixels, "
        f"MobileNetV2 {options.alpha}, {options.repeats} run(s) each"
    )
    print(f"{'':<52} {'seconds':>8} {'MB at most':>10} {'passes':>7}")
    show("(a) Keras: predict over image_dataset_from_directory", keras, count)
    show("(b) this pipeline, empty store", cold, passes)
    again = checkout.statistics("extract_features")["passes_done"]
    show("(c) this pipeline, again", [warm], again)
    ratios = [a.seconds / b.seconds for a, b in zip(keras, cold, strict=True)]
    print(f"(a) / (b): {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
    compare(options, folder, checkout, [*predict, *shape])


def show(name: str, costs: Sequence[Cost], passes: int) -> None:
    """Print a line of the table."""
    seconds = statistics.median(cost.seconds for cost in costs)
    megabytes = max(cost.megabytes for cost in costs)
    print(f"{name:<52} {seconds:>8.1f} {megabytes:>9,.0f} {passes:>8,}")


def compare(
    options: argparse.Namespace, folder: Path, checkout: Checkout, predict: Sequence[str]
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

    some = rows.drop_duplicates("image_id").head(options.compare)
    places = some[["shard", "offset", "bytes", "image_id"]].itertuples(index=False)
    with ShardReader(data / "images") as reader:
        decoded = [pixels(reader.read(*each), options.size) for each in places]
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


if __name__ == "__main__":
    main()
