"""Features of real photos by this pipeline, beside Keras' own ``predict``: seconds, memory, bits.

    KERAS_HOME=/path/to/keras python -m benchmarks.extraction --archive cats-dogs.zip --limit 1000

(a) ``model.predict`` over ``image_dataset_from_directory``, MobileNetV2 with ImageNet weights
(b) ``python -m stages.extract_features`` with an empty feature store
(c) the same again: everything is found

Each is a fresh process from start to exit, reading the images from the disk and decoding them;
(a) and (b) take turns. The two decoders give slightly different pixels, so bits are compared on the
pixels of (b): that is the difference of the engines alone. What the decoders add is said as well.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from ruamel.yaml import YAML

from headstart.datasets.manifests import SPLITS, read_split
from headstart.datasets.shards import ShardReader
from headstart.features.folder import read_features
from headstart.images.resize import pixels

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Measured:
    """Runs of one way to extract."""

    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)
    passes: int = 0

    def row(self, name: str) -> str:
        """A line of the table."""
        return (
            f"{name:<52} {statistics.median(self.seconds):>8.1f} "
            f"{max(self.megabytes):>9,.0f} {self.passes:>8,}"
        )


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--archive", type=Path, required=True, help="zip of class folders")
    parser.add_argument("--limit", type=int, help="images in all; default: all")
    parser.add_argument("--repeats", type=int, default=1, help="runs of (a) and of (b), in turn")
    parser.add_argument("--size", type=int, default=224, help="pixels a side")
    parser.add_argument("--alpha", type=float, default=1.0)
    parser.add_argument("--compare", type=int, default=400, help="images to compare bits on")
    options = parser.parse_args()
    home = os.environ.get("KERAS_HOME")
    weights = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{options.alpha}_*_no_top.h5"
    if not home or not list((Path(home) / "models").glob(weights)):
        print(f"Skipped: KERAS_HOME must name a folder with models/{weights}.")
        return
    with tempfile.TemporaryDirectory() as folder:
        Bench(options, Path(folder)).run()


class Bench:
    """One benchmark in a folder of its own."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        self.photos = folder / "photos"
        self.params = folder / "params.yaml"
        self.environment = {**os.environ, "HEADSTART_CACHE": str(folder / "store")}

    def run(self) -> None:
        """Prepare, measure in turn, compare, print."""
        count = unpack(self.options.archive, self.photos, self.options.limit)
        self.prepare()
        keras, cold, warm = Measured(), Measured(), Measured()
        shape = ["--size", str(self.options.size), "--alpha", str(self.options.alpha)]
        predict = [sys.executable, "-m", "benchmarks.keras_predict"]
        for turn in range(self.options.repeats):
            target = str(self.folder / "keras.npy")
            self.timed([*predict, str(self.photos), target, *shape], keras)
            keras.passes = count
            self.environment["HEADSTART_CACHE"] = str(self.folder / f"store{turn}")
            self.extract(cold)
        self.extract(warm)
        print(
            f"{count:,} photos of {self.options.archive.name}, {self.options.size} pixels, "
            f"MobileNetV2 {self.options.alpha}, {self.options.repeats} run(s) each"
        )
        print(f"{'':<52} {'seconds':>8} {'MB at most':>10} {'passes':>7}")
        print(keras.row("(a) Keras: predict over image_dataset_from_directory"))
        print(cold.row("(b) this pipeline, empty store"))
        print(warm.row("(c) this pipeline, again"))
        ratios = [a / b for a, b in zip(keras.seconds, cold.seconds, strict=True)]
        print(f"(a) / (b): {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
        files = [str(self.folder / name) for name in ("pixels.npy", "same.npy")]
        self.compare([*predict, *files, *shape])

    def prepare(self) -> None:
        """Shards, manifest and backbone by the pipeline's own stages; not timed."""
        document = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        document["download"].update(source="folder", location=str(self.photos))
        document["backbone"].update(
            name="mobilenet_v2", alpha=self.options.alpha, weights="imagenet",
            image_size=self.options.size, cut=None, pooling="avg",
        )  # fmt: skip
        with self.params.open("w", encoding="utf-8") as stream:
            YAML().dump(document, stream)
        self.stage("download", source="photos", images="images", manifest="images.csv",
                   rejected="aside.csv", rejected_images="aside",
                   metrics="download.json")  # fmt: skip
        self.stage("split", images="images.csv", manifest="split.csv", metrics="split.json")
        start = time.perf_counter()
        self.stage("backbone", backbone_folder="backbone")
        print(f"The backbone, once: {time.perf_counter() - start:.1f} s (not in the table).")

    def command(self, name: str, **paths: str) -> list[str]:
        """The command line of a stage, with paths inside the benchmark's folder."""
        needs_runtime = name != "split"
        options = [f"--{key.replace('_', '-')}={self.folder / path}" for key, path in paths.items()]
        return [
            sys.executable, "-m", f"stages.{name}", f"--params={self.params}",
            *([f"--runtime={ROOT / 'runtime.txt'}"] if needs_runtime else []),
            f"--run-statistics={self.folder / 'run_statistics'}", *options,
        ]  # fmt: skip

    def stage(self, name: str, **paths: str) -> None:
        """Run a stage without timing it."""
        subprocess.run(
            self.command(name, **paths), cwd=ROOT, env=self.environment, check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def extract(self, measured: Measured) -> None:
        """Run the stage and note what it took."""
        command = self.command(
            "extract_features", images="images", manifest="split.csv",
            backbone_folder="backbone", features="features",
        )  # fmt: skip
        self.timed(command, measured)
        run_statistics = json.loads(
            (self.folder / "run_statistics" / "extract_features.json").read_text()
        )
        measured.passes = run_statistics["passes_done"]

    def timed(self, command: Sequence[str], measured: Measured) -> None:
        """Run a fresh process to its end."""
        start = time.perf_counter()
        with tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen(
                command, cwd=ROOT, env=self.environment, stdout=subprocess.DEVNULL, stderr=errors
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                errors.seek(0)
                sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{errors.read()}")
        measured.seconds.append(time.perf_counter() - start)
        measured.megabytes.append(usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1024))

    def compare(self, predict: Sequence[str]) -> None:
        """Print how far the features are from Keras', in standard deviations of each feature."""
        rows = read_split(self.folder / "split.csv")
        features = read_features(self.folder / "features")
        ours = np.concatenate([features.array(split) for split in SPLITS])
        ids = [i for split in SPLITS for i in features.rows(split)["image_id"]]
        deviation = ours.std(axis=0, dtype=np.float64)
        moving = deviation > 0
        place = {image_id: index for index, image_id in enumerate(ids)}

        some = rows.drop_duplicates("image_id").head(self.options.compare)
        with ShardReader(self.folder / "images") as reader:
            decoded = [
                pixels(reader.read(shard, offset, length, image_id), self.options.size)
                for shard, offset, length, image_id in zip(
                    some["shard"], some["offset"], some["bytes"], some["image_id"], strict=True
                )
            ]
        np.save(self.folder / "pixels.npy", np.stack(decoded), allow_pickle=False)
        subprocess.run(predict, cwd=ROOT, check=True, capture_output=True)

        def difference(theirs: Any, image_ids: Sequence[str]) -> Any:
            mine = ours[[place[image_id] for image_id in image_ids]].astype(np.float64)
            return (np.abs(mine - theirs) / np.where(moving, deviation, 1))[:, moving]

        theirs = np.load(self.folder / "same.npy", allow_pickle=False)
        same = difference(theirs, list(some["image_id"]))
        by_path = dict(zip(rows["path"], rows["image_id"], strict=True))
        names = json.loads((self.folder / "keras.json").read_text())
        theirs = np.load(self.folder / "keras.npy", allow_pickle=False)
        known = [index for index, name in enumerate(names) if name in by_path]
        other = difference(theirs[known], [by_path[names[index]] for index in known])
        print(f"Largest difference on the same pixels ({len(some)} photos): {same.max():.1e} std")
        print(f"Mean with Keras' own decoder ({len(known)} photos): {other.mean():.2f} std")


def unpack(archive: Path, target: Path, limit: int | None) -> int:
    """Unpack whole images, the same number of each class; return how many."""
    taken: dict[str, int] = {}
    with zipfile.ZipFile(archive) as content:
        names = [name for name in content.namelist() if name.lower().endswith((".jpg", ".png"))]
        classes = {Path(name).parent.name for name in names}
        for name in names:
            label = Path(name).parent.name
            if limit is not None and taken.get(label, 0) >= limit // len(classes):
                continue
            data = content.read(name)
            try:
                Image.open(io.BytesIO(data)).load()
            except (OSError, SyntaxError, ValueError):
                continue  # One bad file stops Keras' loader, so neither gets it.
            path = target / label / Path(name).name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            taken[label] = taken.get(label, 0) + 1
    return sum(taken.values())


if __name__ == "__main__":
    main()
