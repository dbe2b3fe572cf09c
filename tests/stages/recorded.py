"""A features folder and its manifest made by hand, for stages that read no image."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ruamel.yaml import YAML

from headstart._utils.files import sha256_bytes
from headstart.backbones.record import BackboneSummary
from headstart.datasets.manifests import SPLIT, SPLITS, frame, write_split
from headstart.features.folder import row_table, write_features
from tests.training.models import BACKBONE

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "runtime.txt"


@dataclass(frozen=True)
class Recorded:
    """Where features and manifest lie, and what they hold."""

    folder: Path
    classes: list[str]
    labels: Mapping[str, Sequence[int]]

    @property
    def features(self) -> Path:
        return self.folder / "features"

    @property
    def manifest(self) -> Path:
        return self.folder / "split.csv"

    @property
    def images(self) -> Path:
        images = self.folder / "images"
        images.mkdir(exist_ok=True)
        return images


def record(
    folder: Path,
    splits: Mapping[str, tuple[npt.NDArray[Any], Sequence[int]]],
    classes: Sequence[str],
    views: npt.NDArray[Any] | None = None,
    **header: Any,
) -> Recorded:
    """Write features (rows) and labels (class indices) of each split, and a manifest to match.

    ``views``: features of the training images' views, of shape (views, images, …).
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    for split in SPLITS:
        for label in splits[split][1]:
            n = len(rows)
            rows.append(
                {
                    "image_id": sha256_bytes(f"{n}".encode()),
                    "path": f"{n:06d}.png",
                    "label": classes[label],
                    "predefined_split": "",
                    "width": 8,
                    "height": 8,
                    "format": "png",
                    "bytes": 99,
                    "group": "",
                    "shard": 0,
                    "offset": n,
                    "split": split,
                }
            )
    table = frame(rows, SPLIT)
    write_split(folder / "split.csv", table)
    values: dict[str, Any] = {
        "backbone": BackboneSummary(**BACKBONE, random_weights=True),
        "classes": tuple(classes),
        "dtype": "float32",
        **header,
    }
    shape = splits["train"][0].shape[1:]
    count = 0 if views is None else len(views)
    parts = []
    for split in SPLITS:
        vectors = splits[split][0]
        if split == "train" and views is not None:
            vectors = np.concatenate([vectors, *views])
        part = row_table(table[table["split"] == split], count if split == "train" else 0)
        parts.append((split, part, lambda _, vectors=vectors: vectors))
    write_features(
        folder / "features", {"made": "by hand"}, shape, parts, views=count, views_record={},
        **values,
    )  # fmt: skip
    return Recorded(folder, list(classes), {split: splits[split][1] for split in SPLITS})


def separable(
    folder: Path,
    counts: Sequence[int] = (240, 60, 90),
    shape: tuple[int, ...] = (16,),
    **header: Any,
) -> Recorded:
    """Three classes that a linear head tells apart."""
    generator = np.random.Generator(np.random.Philox(key=5))
    centers = generator.normal(size=(3, *shape))
    splits = {}
    for split, n in zip(SPLITS, counts, strict=True):
        labels = np.arange(n) % 3
        features = centers[labels] + 0.3 * generator.normal(size=(n, *shape))
        splits[split] = (features.astype(header.get("dtype", "float32")), labels.tolist())
    return record(folder, splits, ["ant", "bee", "cat"], **header)


def params(path: Path, **changes: Any) -> Path:
    """The project's params.yaml with some values of sections changed: ``train_head__epochs=2``."""
    yaml = YAML(typ="rt")
    document = yaml.load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for name, value in changes.items():
        node, *rest = name.split("__")
        if rest:
            document[node][rest[0]] = value
        else:
            document[node] = value
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(document, file)
    return path


def stage(name: str, **options: Path) -> subprocess.CompletedProcess[str]:
    """Run a stage as DVC does, in a process of its own."""
    words = [
        word for key, path in options.items() for word in (f"--{key.replace('_', '-')}", str(path))
    ]
    return subprocess.run(
        [sys.executable, "-m", f"stages.{name}", *words],
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )
