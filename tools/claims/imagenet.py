"""A whole ImageNet classifier on photographs of cats and dogs: does it name the right animal?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.checkout import Checkout
from benchmarks.imagenet import SPECIES
from headstart._utils.files import read_json, sha256_file
from tools.claims.measure import named, share, unpack
from tools.claims.runs import PETS

#: The network whose whole file is looked for, and the file that names the classes.
WEIGHTS, INDEX = "mobilenet_2_5_128_tf.h5", "imagenet_class_index.json"
COMMAND = "headstart classify --imagenet --backbone mobilenet --alpha 0.25 --image-size 128"
_FOLDER = "PetImages"


def lacks(shared: Path) -> str:
    """What the shared folder has not, as a sentence; "": it has all."""
    for folder, name in (
        ("datasets", PETS), ("keras/models", WEIGHTS), ("keras/models", INDEX),
    ):  # fmt: skip
        if not (shared / folder / name).is_file():
            return f"`{name}` is not in `SHARED/{folder}`"
    return ""


def measure(checkout: Checkout, shared: Path) -> dict[str, Any]:
    """Classify all images of the archive, and count the right animals."""
    images = checkout.folder.parent / "images"
    unpack(shared / "datasets" / PETS, _FOLDER, images)
    # Ends with 3, because the archive holds files that are no images.
    _, said = checkout.run(
        *COMMAND.split(), "--top", "1", "--format", "jsonl", str(images / _FOLDER), check=False
    )
    rows = [json.loads(line) for line in said.splitlines() if line.startswith('{"file"')]
    if not rows:
        raise RuntimeError(f"Nothing was classified:\n{said}")
    index = read_json(shared / "keras/models" / INDEX)
    species = {}
    for name, places in SPECIES.items():
        own = {index[str(place)][0] for place in places}
        right = [row["synset"] in own for row in rows if Path(row["file"]).parent.name == name]
        species[name] = share(sum(right), len(right))
    return {
        "network": "MobileNet 0.25 at 128", "command": COMMAND, "species": species,
        "weights": named(WEIGHTS, sha256_file(shared / "keras/models" / WEIGHTS)),
    }  # fmt: skip
