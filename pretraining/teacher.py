"""Write what the teacher sees in each image."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np

from pretraining.settings import read_settings


def main() -> None:
    """Read the options and the parameters, then run the teacher over all images."""
    options = argparse.ArgumentParser(prog="python -m pretraining.teacher", description=__doc__)
    for name in ("params", "images", "targets"):
        options.add_argument(f"--{name}", type=Path, required=True)
    given = options.parse_args()
    teacher = read_settings(given.params).teacher
    from pretraining.targets import write_targets
    from pretraining.teacher_network import teacher_network

    images = np.load(given.images, mmap_mode="r", allow_pickle=False)
    write_targets(given.targets, images, teacher_network(teacher), teacher, os.cpu_count() or 1)


if __name__ == "__main__":
    main()
