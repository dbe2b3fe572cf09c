"""The whole job beside what the tutorials do: seconds, ratios and passes, in one run.

    KERAS_HOME=/path/to/keras python -m benchmarks.pipeline --archive cats-dogs.zip

(a) the tutorials' way: Keras' data loader, the frozen backbone inside ``fit``, 10 epochs
(b) this pipeline, cold: empty feature store, empty DVC cache, all stages
(c) the same after changing the head's learning rate
(d) the same after 1 % more images

(b) to (d) do more than (a): they check every image, write an exported model and compare it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.checkout import Archive, Checkout, Limit, Size, photo_project, start, unpack


def main(
    archive: Archive,
    limit: Limit = None,
    epochs: int = 10,
    size: Size = 224,
    skip_tutorial: Annotated[bool, typer.Option(help="leave out (a)")] = False,
) -> None:
    """Measure and print the table."""
    rows: list[tuple[str, float, int]] = []

    def add(what: str, seconds: float, passes: int) -> None:
        rows.append((what, seconds, passes))
        print(rows[-1], flush=True)

    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images"
        files = unpack(archive, images, limit)
        held_back = {file: file.read_bytes() for file in files[99::100]}
        for file in held_back:
            file.unlink()
        print(f"{len(files):,} images; {len(held_back)} of them are added in (d).")
        ours = photo_project(
            Path(folder), images, backbone__image_size=size, train_head__epochs=epochs,
            train_head__early_stopping_patience=None,
        )  # fmt: skip
        if not skip_tutorial:
            command = [sys.executable, "-m", "benchmarks.in_keras", "fit", str(images)]
            seconds, printed = ours.run(*command, f"--epochs={epochs}", f"--size={size}")
            passes = json.loads(printed.splitlines()[-1])["passes"]
            add(f"(a) frozen backbone in fit, {epochs} epochs", seconds, passes)
        add("(b) this pipeline, cold", *repro(ours))
        ours.set(train_head__learning_rate=0.002)
        add("(c) after changing the head's learning rate", *repro(ours))
        for file, content in held_back.items():
            file.write_bytes(content)
        add(f"(d) after {len(held_back)} more images", *repro(ours))
    show(rows)


def repro(checkout: Checkout) -> tuple[float, int]:
    """Return seconds and passes of one ``dvc repro``."""
    seconds, _ = checkout.repro()
    return seconds, int(checkout.statistics("runtime")["passes_done"])


def show(rows: list[tuple[str, float, int]]) -> None:
    """Print seconds, ratio to the first row and passes."""
    print(f"\n{'':44}{'seconds':>9}{'ratio':>9}{'passes':>10}")
    for what, seconds, passes in rows:
        print(f"{what:44}{seconds:9.1f}{rows[0][1] / seconds:8.1f}x{passes:10,}")


if __name__ == "__main__":
    start(main, __doc__)
