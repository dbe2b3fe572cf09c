"""The whole job beside what the tutorials do: seconds, ratios and passes, in one run.

    KERAS_HOME=/path/to/keras python -m benchmarks.pipeline --archive cats-dogs.zip

(a) the tutorials' way: Keras' data loader, the frozen backbone inside ``fit``, 10 epochs
(b) this pipeline, cold: empty feature store, empty DVC cache, all nine stages
(c) the same after a change of the head's learning rate
(d) the same after 1 % more images

(b) to (d) do more than (a): they check every image, write an exported model and compare it.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from PIL import Image

from benchmarks.checkout import ROOT, Checkout


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--archive", type=Path, required=True, help="zip of class folders")
    parser.add_argument("--limit", type=int, help="images a class; default: all")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--size", type=int, default=224, help="pixels a side")
    parser.add_argument("--skip-tutorial", action="store_true", help="leave out (a)")
    options = parser.parse_args()
    home = os.environ.get("KERAS_HOME")
    if not home:
        sys.exit("KERAS_HOME must name the folder with models/mobilenet_v2_…_no_top.h5.")
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(options, Path(folder), Path(home).resolve())
    show(rows)


def measure(options: argparse.Namespace, folder: Path, home: Path) -> list[tuple[str, float, int]]:
    """Rows of (what, seconds, passes)."""
    rows = []
    images = folder / "images"
    held_back = unpack(options.archive, images, options.limit)
    total = sum(1 for path in images.rglob("*") if path.is_file())
    print(f"{total + len(held_back):,} images; {len(held_back)} of them are added in (d).")
    if not options.skip_tutorial:
        command = [sys.executable, "-m", "benchmarks.tutorial_way", str(images)]
        command += ["--epochs", str(options.epochs), "--size", str(options.size)]
        start = time.perf_counter()
        printed = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        seconds = time.perf_counter() - start
        passes = json.loads(printed.splitlines()[-1])["passes"]
        rows.append((f"(a) frozen backbone in fit, {options.epochs} epochs", seconds, passes))
        print(rows[-1], flush=True)
    ours = Checkout(folder / "ours", folder / "store", home)
    ours.set(
        download__source="folder", download__location=str(images),
        backbone__name="mobilenet_v2", backbone__alpha=1.0, backbone__weights="imagenet",
        backbone__image_size=options.size, train_head__epochs=options.epochs,
        train_head__early_stopping_patience=None,
    )  # fmt: skip
    rows.append(("(b) this pipeline, cold", *repro(ours)))
    print(rows[-1], flush=True)
    ours.set(train_head__learning_rate=0.002)
    rows.append(("(c) after a change of the head's rate", *repro(ours)))
    print(rows[-1], flush=True)
    for name, content in held_back.items():
        (images / name).write_bytes(content)
    rows.append((f"(d) after {len(held_back)} more images", *repro(ours)))
    return rows


def repro(checkout: Checkout) -> tuple[float, int]:
    """Seconds and passes of one ``dvc repro``."""
    seconds, _ = checkout.repro()
    table = json.loads((checkout.folder / "data" / "run_statistics" / "runtime.json").read_text())
    return seconds, int(table["passes_done"])


def unpack(archive: Path, folder: Path, limit: int | None) -> dict[str, bytes]:
    """Write the good images into class folders; return 1 % of them, not written."""
    held_back: dict[str, bytes] = {}
    counts: dict[str, int] = {}
    with zipfile.ZipFile(archive) as members:
        for info in sorted(members.infolist(), key=lambda info: info.filename):
            if info.is_dir():
                continue
            label, name = info.filename.split("/")[-2:]
            content = members.read(info)
            if counts.get(label, 0) == limit or not decodes(content):
                continue
            counts[label] = counts.get(label, 0) + 1
            target = folder / label / name
            if counts[label] % 100 == 0:
                held_back[f"{label}/{name}"] = content
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    return held_back


def decodes(content: bytes) -> bool:
    """Whether Pillow can decode the image to the end."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except (OSError, SyntaxError):
        return False
    return True


def show(rows: list[tuple[str, float, int]]) -> None:
    """Print seconds, ratio to the first row and passes."""
    print(f"\n{'':44}{'seconds':>9}{'ratio':>9}{'passes':>10}")
    for what, seconds, passes in rows:
        print(f"{what:44}{seconds:9.1f}{rows[0][1] / seconds:8.1f}x{passes:10,}")


if __name__ == "__main__":
    main()
