"""The whole job beside what the tutorials do: seconds, ratios and passes, in one run.

    KERAS_HOME=/path/to/keras python -m benchmarks.pipeline --archive cats-dogs.zip

(a) the tutorials' way: Keras' data loader, the frozen backbone inside ``fit``, 10 epochs
(b) this pipeline, cold: empty feature store, empty DVC cache, all stages
(c) the same after changing the head's learning rate
(d) the same after 1 % more images

(b) to (d) do more than (a): they check every image, write an exported model and compare it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.checkout import Checkout, keras_home, parser, unpack


def main() -> None:
    """Measure and print the table."""
    built = parser(__doc__)
    built.add_argument("--archive", type=Path, required=True, help="zip of class folders")
    built.add_argument("--limit", type=int, help="images per class; default: all")
    built.add_argument("--epochs", type=int, default=10)
    built.add_argument("--size", type=int, default=224, help="pixels per side")
    built.add_argument("--skip-tutorial", action="store_true", help="leave out (a)")
    options = built.parse_args()
    home = keras_home()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(options, Path(folder), home)
    show(rows)


def measure(options: argparse.Namespace, folder: Path, home: Path) -> list[tuple[str, float, int]]:
    """Return rows of (what, seconds, passes)."""
    rows = []
    images = folder / "images"
    files = unpack(options.archive, images, options.limit)
    held_back = {file: file.read_bytes() for file in files[99::100]}
    for file in held_back:
        file.unlink()
    print(f"{len(files):,} images; {len(held_back)} of them are added in (d).")
    ours = Checkout(folder / "ours", folder / "store", home)
    if not options.skip_tutorial:
        command = [sys.executable, "-m", "benchmarks.in_keras", "fit", str(images)]
        command += ["--epochs", str(options.epochs), "--size", str(options.size)]
        seconds, printed = ours.run(*command)
        passes = json.loads(printed.splitlines()[-1])["passes"]
        rows.append((f"(a) frozen backbone in fit, {options.epochs} epochs", seconds, passes))
        print(rows[-1], flush=True)
    ours.set(
        download__source="folder", download__location=str(images),
        backbone__name="mobilenet_v2", backbone__alpha=1.0, backbone__weights="imagenet",
        backbone__image_size=options.size, train_head__epochs=options.epochs,
        train_head__early_stopping_patience=None,
    )  # fmt: skip
    rows.append(("(b) this pipeline, cold", *repro(ours)))
    print(rows[-1], flush=True)
    ours.set(train_head__learning_rate=0.002)
    rows.append(("(c) after changing the head's learning rate", *repro(ours)))
    print(rows[-1], flush=True)
    for file, content in held_back.items():
        file.write_bytes(content)
    rows.append((f"(d) after {len(held_back)} more images", *repro(ours)))
    return rows


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
    main()
