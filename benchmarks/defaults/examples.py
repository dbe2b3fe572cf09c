"""Sets of images and their features: what the defaults are measured on.

The sets are drawn from the archives in ``$HEADSTART_SHARED/datasets`` and from scikit-learn's
digits, the weights lie in ``$HEADSTART_SHARED/keras/models``. Features are read from the feature
store, so that only the first run computes them.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

import headstart as hs

_MODELS = "keras/models"
_MOBILENET_V2 = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{}_224_no_top.h5"


@dataclass(frozen=True)
class ImageSet:
    """Labeled images; ``images`` are encoded files or arrays of pixels."""

    name: str
    images: list[Any]
    labels: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Network:
    """A backbone, the file of its weights (None: shipped), and the side of its images."""

    name: str
    backbone: str
    size: int
    alpha: float = 1.0
    file: str | None = None

    def extractor(self) -> hs.FeatureExtractor:
        """Return what computes its features."""
        weights = None if self.file is None else str(shared() / _MODELS / self.file)
        return hs.FeatureExtractor(
            self.backbone, image_size=self.size, alpha=self.alpha, weights=weights
        )


#: See :func:`asked` for the sets that each is measured on.
NETWORKS = (
    Network("small-64", "headstart-small", 64),
    Network("v2-160", "mobilenet_v2", 160, 1.0, _MOBILENET_V2.format("1.0")),
    Network("v2-128", "mobilenet_v2", 128, 1.0, _MOBILENET_V2.format("1.0")),
    Network("v2-96", "mobilenet_v2", 96, 1.0, _MOBILENET_V2.format("1.0")),
    Network("v2/0.35-96", "mobilenet_v2", 96, 0.35, _MOBILENET_V2.format("0.35")),
    Network("v2/0.35-224", "mobilenet_v2", 224, 0.35, _MOBILENET_V2.format("0.35")),
    Network("v1-128", "mobilenet", 128, 1.0, "mobilenet_1_0_224_tf_no_top.h5"),
    Network("v1/0.25-128", "mobilenet", 128, 0.25, "mobilenet_2_5_128_tf_no_top.h5"),
)


def shared() -> Path:
    """Return the folder of real images and weights."""
    return Path(os.environ.get("HEADSTART_SHARED", "../shared")).resolve()


def features(network: Network, images: ImageSet) -> npt.NDArray[np.float32]:
    """Return the features of all images of a set, cached."""
    found: npt.NDArray[np.float32] = network.extractor().transform(images.images)
    return found


def image_sets(names: list[str] | None = None) -> list[ImageSet]:
    """Return the sets, in the order of their table; all if no name is given."""
    return [_SETS[name]() for name in names or _SETS]


def asked(network: Network, images: ImageSet) -> bool:
    """Return whether a network is measured on a set.

    headstart-small is not, on what it was trained on; it alone is, on the digits, as the default
    run is.
    """
    small = network.backbone == "headstart-small"
    return not (images.name.startswith("tiny") if small else images.name == "digits")


def archive_set(name: str, file: str, folder: str, classes: slice, per_class: int) -> ImageSet:
    """Draw images of class folders: the same ones every time, evenly over the sorted names."""
    found: dict[str, list[bytes]] = {}
    with zipfile.ZipFile(shared() / "datasets" / file) as archive:
        members: dict[str, list[str]] = {}
        for member in sorted(archive.namelist()):
            parts = member.split("/")
            if member.startswith(folder) and len(parts) > 2 and parts[-1]:
                members.setdefault(parts[-2], []).append(member)
        for kind in sorted(members)[classes]:
            every = max(1, len(members[kind]) // per_class)
            found[kind] = list(_sound(archive, members[kind][::every], per_class))
    images = [image for group in found.values() for image in group]
    labels = np.repeat(np.arange(len(found)), [len(group) for group in found.values()])
    return ImageSet(name, images, labels.astype(np.int32))


def _sound(archive: zipfile.ZipFile, members: list[str], most: int) -> Iterator[bytes]:
    for member in members[:most]:
        data = archive.read(member)
        try:
            with Image.open(io.BytesIO(data)) as image:
                image.load()
        except (UnidentifiedImageError, OSError):
            continue
        yield data


def _digits() -> ImageSet:
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = (digits.images * (255 / 16)).astype(np.uint8)
    return ImageSet("digits", list(pixels), digits.target.astype(np.int32))


_SETS: dict[str, Callable[[], ImageSet]] = {
    "digits": _digits,
    "cats-dogs": lambda: archive_set("cats-dogs", "cats-dogs.zip", "PetImages/", slice(2), 600),
    "alien": lambda: archive_set(
        "alien", "alien-vs-predator.zip", "alien-vs-predator-images/", slice(2), 450
    ),
    "fruits": lambda: archive_set("fruits", "fruits360-10.zip", "fruits-360/Tr", slice(10), 60),
    "tiny-2": lambda: archive_set(
        "tiny-2", "tiny-imagenet-40k.zip", "tiny-imagenet/train/", slice(150, 152), 200
    ),
    "tiny-5": lambda: archive_set(
        "tiny-5", "tiny-imagenet-40k.zip", "tiny-imagenet/train/", slice(3, 8), 200
    ),
    "tiny-10": lambda: archive_set(
        "tiny-10", "tiny-imagenet-40k.zip", "tiny-imagenet/train/", slice(40, 50), 150
    ),
    "tiny-30": lambda: archive_set(
        "tiny-30", "tiny-imagenet-40k.zip", "tiny-imagenet/train/", slice(100, 130), 50
    ),
}
