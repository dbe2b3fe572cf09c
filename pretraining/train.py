"""Train the small backbone; run again, it goes on after the last finished epoch."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from headstart._utils.files import read_json, write_text
from pretraining.settings import read_settings


def main() -> None:
    """Read the options, the parameters and the arrays, then train."""
    options = argparse.ArgumentParser(prog="python -m pretraining.train", description=__doc__)
    names = ("params", "images", "labels", "classes", "targets", "checkpoint", "weights", "log")
    for name in names:
        options.add_argument(f"--{name}", type=Path, required=True)
    given = options.parse_args()
    settings = read_settings(given.params)
    from headstart.keras.networks.headstart_small import write_shipped
    from pretraining.fitting import COLUMNS, Images, Row, pretrain

    def log(rows: list[Row]) -> None:
        lines = [",".join(repr(row[name]) for name in COLUMNS) for row in rows]
        write_text(given.log, "\n".join([",".join(COLUMNS), *lines]) + "\n")

    data = Images(
        np.load(given.images, allow_pickle=False),
        np.load(given.labels, allow_pickle=False),
        np.load(given.targets, allow_pickle=False),
        len(read_json(given.classes)),
    )
    backbone = pretrain(data, settings.train, settings.seed, given.checkpoint, log)
    write_shipped(given.weights, backbone)


if __name__ == "__main__":
    main()
