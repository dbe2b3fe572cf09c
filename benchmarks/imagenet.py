r"""`headstart classify --imagenet` on photos of cats and dogs, beside what people do with Keras.

    KERAS_HOME=/path/to/keras python -m benchmarks.imagenet --archive cats-dogs.zip \
        --backbone mobilenet --alpha 0.25 --image-size 128

How often is a cat called one of ImageNet's 5 cats, and a dog one of its 118 dogs? On photos that
are drawn by a seed, the same for all:

(a) ``headstart classify --imagenet``, a fresh process
(b) Keras by hand: ``load_img``, the network's own ``preprocess_input``, ``predict``
(c) the same with ``load_img(interpolation="bilinear")``, by default it takes the nearest pixel
(d) as (b), but pixels divided by 255 in place of ``preprocess_input``: the tutorials' trap
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.checkout import Archive, keras_home, start
from headstart._utils.seeds import uniform
from headstart.backbones.registry import BACKBONES
from headstart.evaluation.metrics import wilson_interval
from headstart.keras.networks.keras_files import read_classes

#: Places of ImageNet's classes, by the folders of the archive.
SPECIES = {"Cat": range(281, 286), "Dog": range(151, 269)}
_TOP = 5


def main(
    archive: Archive,
    each: Annotated[int, typer.Option(help="images of Cat and of Dog")] = 200,
    seed: int = 42,
    backbone: str = "mobilenet_v2",
    alpha: float = 1.0,
    image_size: int = 224,
) -> None:
    """Measure and print."""
    keras_home()
    network = backbone, alpha, image_size
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = draw(archive, folder, each, seed)
        print(f"{count} images, {each} of each drawn by the seed {seed}.")
        start = time.perf_counter()
        ours = by_command(folder, *network)
        print(f"(a) {time.perf_counter() - start:.1f} s, start to exit; {len(ours)} read")
        report("(a)", ours)
        for letter, filter_name, divide in (
            ("(b)", "nearest", False), ("(c)", "bilinear", False), ("(d)", "nearest", True),
        ):  # fmt: skip
            theirs = by_hand(folder, sorted(ours), *network, filter_name, divide=divide)
            report(letter, theirs)
            same = sum(ours[file][0] == theirs[file][0] for file in ours)
            print(f"    the same first guess as (a): {same} of {len(ours)}")


def draw(archive: Path, folder: Path, each: int, seed: int) -> int:
    """Unpack images of each species, drawn by their paths; return how many."""
    count = 0
    with zipfile.ZipFile(archive) as content:
        for species in SPECIES:
            names = [name for name in content.namelist() if f"/{species}/" in name]
            names = [name for name in names if name.endswith(".jpg")]
            names.sort(key=lambda name: uniform(seed, "benchmarks.imagenet", name))
            (folder / species).mkdir()
            for name in names[:each]:
                (folder / species / Path(name).name).write_bytes(content.read(name))
                count += 1
    return count


def by_command(folder: Path, backbone: str, alpha: float, side: int) -> dict[str, list[str]]:
    """Return WordNet's numbers of the first five guesses, by file."""
    words = ["--backbone", backbone, "--alpha", str(alpha), "--image-size", str(side)]
    words += ["--top", str(_TOP), "--format", "jsonl"]
    done = subprocess.run(
        [sys.executable, "-m", "headstart", "classify", "--imagenet", str(folder), *words],
        stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    if not rows:
        raise SystemExit(f"headstart classify ended with {done.returncode}.")
    return {row["file"]: [guess["synset"] for guess in row["top"]] for row in rows}


def by_hand(
    folder: Path, files: list[str], backbone: str, alpha: float, side: int, filter_name: str,
    *, divide: bool,
) -> dict[str, list[str]]:  # fmt: skip
    """Return the same by Keras alone, as its documentation shows it."""
    from headstart.keras.runtime import keras

    record = BACKBONES[backbone]
    constructor = getattr(keras.applications, record.function)
    module = importlib.import_module(constructor.__module__.replace(".src", ""))
    width: dict[str, Any] = {"alpha": alpha} if len(record.alphas) > 1 else {}
    network = constructor(input_shape=(side, side, 3), **width)
    loaded = (
        keras.utils.load_img(folder / file, target_size=(side, side), interpolation=filter_name)
        for file in files
    )
    batch = np.stack([keras.utils.img_to_array(image) for image in loaded])
    batch = batch / 255 if divide else module.preprocess_input(batch)
    order = np.argsort(-network.predict(batch, verbose=0), axis=1)[:, :_TOP]
    synsets = [one.synset for one in read_classes()]
    return {file: [synsets[k] for k in row] for file, row in zip(files, order, strict=True)}


def report(letter: str, guesses: dict[str, list[str]]) -> None:
    """Print the shares with their 95 % intervals."""
    synsets = [one.synset for one in read_classes()]
    for species, places in SPECIES.items():
        own = {synsets[place] for place in places}
        of = [row for file, row in guesses.items() if Path(file).parent.name == species]
        shown = []
        for top in (1, _TOP):
            right = sum(bool(own & set(row[:top])) for row in of)
            low, high = wilson_interval(right, len(of))
            shown.append(f"{right}/{len(of)} = {right / len(of):.3f} ({low:.3f} to {high:.3f})")
        print(f"{letter} {species}: first guess {shown[0]}, among five {shown[1]}")


if __name__ == "__main__":
    start(main, __doc__)
