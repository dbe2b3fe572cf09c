"""`headstart predict` beside the extraction of features, on the same photos.

    KERAS_HOME=/path/to/keras python -m benchmarks.predict --archive cats-dogs.zip

In a throw-away copy of this project, the pipeline is run on the photos with MobileNetV2 at 224
pixels. Then, in turn, each a fresh process from start to exit:

(a) ``python -m stages.extract_features`` with an empty feature store, reading shards
(b) ``headstart predict`` on the folder of files, with the exported model, rows as JSON lines
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.checkout import Checkout, keras_home, parser, unpack


def main() -> None:
    """Measure and print."""
    built = parser(__doc__)
    built.add_argument("--archive", type=Path, required=True, help="zip of two class folders")
    built.add_argument("--limit", type=int, help="images in all; default: all")
    built.add_argument("--repeats", type=int, default=3, help="runs of each, in turn")
    built.add_argument("--keep", type=Path, help="leave the export and the images here")
    options = built.parse_args()
    home = keras_home()
    with tempfile.TemporaryDirectory() as folder:
        measure(options, Path(folder), home)


def measure(options: argparse.Namespace, folder: Path, home: Path) -> None:
    """Run the pipeline, then both ways in turn."""
    checkout = Checkout(folder / "project", folder / "store", home)
    per_class = options.limit // 2 if options.limit else None
    count = len(unpack(options.archive, checkout.folder / "images", per_class))
    checkout.set(
        download__source="folder", download__location="images", backbone__name="mobilenet_v2",
        backbone__weights="imagenet", backbone__alpha=1.0, backbone__image_size=224,
    )  # fmt: skip
    checkout.run("dvc", "init", "--quiet", "--force")
    seconds, _ = checkout.repro()
    print(f"The pipeline on {count:,} photos, once: {seconds:.1f} s (not compared).")
    extract = checkout.stage("extract_features")
    rows = checkout.folder / "rows.jsonl"
    code = (
        "import sys; from headstart.cli.app import app; "
        "sys.stdout = open(sys.argv.pop(), 'w'); app()"
    )
    predict = [sys.executable, "-c", code, "predict", "images", str(rows)]
    ratios: list[tuple[float, float]] = []
    for turn in range(options.repeats):
        checkout.environment["HEADSTART_CACHE"] = str(folder / f"store{turn}")
        a, b = checkout.measure(*extract)[0], checkout.measure(*predict)[0]
        ratios.append((a.seconds / b.seconds, a.cpu / b.cpu))
        for name, cost in {"(a)": a, "(b)": b}.items():
            rate = count / cost.seconds
            print(f"{name} {cost.seconds:.2f} s, {rate:,.0f} per second; {cost.cpu:.2f} s of CPU")
        print(f"{len(rows.read_text().splitlines()):,} rows")
    wall, cpu = (statistics.median(column) for column in zip(*ratios, strict=True))
    print(f"(a) / (b), median: {wall:.2f} of the time, {cpu:.2f} of the CPU's")
    if options.keep:
        options.keep.mkdir(parents=True)
        (checkout.folder / "data" / "export").rename(options.keep / "export")
        (checkout.folder / "images").rename(options.keep / "images")


if __name__ == "__main__":
    main()
