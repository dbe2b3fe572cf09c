"""The work that all contenders do: one forward pass per image. Runs in their environments.

Needs ai-edge-litert, NumPy and Pillow, and nothing of Headstart's. Every pass is counted in the
file that PASSES names.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

IMAGES, NETWORK, FEATURES = Path("images"), Path("network.tflite"), Path("features.npz")
_local = threading.local()


def names() -> list[str]:
    """Return the paths of all images below the folder, sorted."""
    return sorted(path.relative_to(IMAGES).as_posix() for path in IMAGES.rglob("*.jpg"))


def features(name: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Decode an image, resize it, and return the network's features of it."""
    network = _network()
    given, got = network.get_input_details()[0], network.get_output_details()[0]
    side = int(given["shape"][1])
    with Image.open(IMAGES / name) as image:
        pixels = np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR))
    network.set_tensor(given["index"], pixels[np.newaxis].astype(given["dtype"]))
    network.invoke()
    with Path(os.environ["PASSES"]).open("a") as counter:
        counter.write(f"{name}\n")
    found: np.ndarray[Any, np.dtype[np.float32]] = network.get_tensor(got["index"])[0].copy()
    return found


def sha256(name: str) -> str:
    """Return the hex SHA-256 of an image."""
    return hashlib.sha256((IMAGES / name).read_bytes()).hexdigest()


def save(rows: Mapping[str, np.ndarray[Any, np.dtype[np.float32]]]) -> None:
    """Write the features of all images, sorted by name."""
    found = sorted(rows)
    np.savez(FEATURES, names=np.array(found), features=np.stack([rows[name] for name in found]))


def _network() -> Any:
    """Return the interpreter of this thread."""
    if not hasattr(_local, "network"):
        _local.network = _loaded()
    return _local.network


def _loaded() -> Any:
    from ai_edge_litert.interpreter import Interpreter

    network = Interpreter(model_content=_content(), num_threads=1)
    network.allocate_tensors()
    return network


@cache
def _content() -> bytes:
    return NETWORK.read_bytes()


def extract(wanted: Iterable[str]) -> None:
    """Compute and write the features of some images."""
    save({name: features(name) for name in wanted})


if __name__ == "__main__":
    extract(names())
