"""What is known of each pretrained backbone, one record each, and what its parameters may be.

In the core, so that a wrong name is told when params.yaml is read, not when its stage is reached.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headstart._utils.errors import ParameterError, UnfitError
from headstart.backbones.hub_handles import HUB

#: What pixels from 0 to 255 go through before the backbone. ``tf``: to -1 … 1. ``caffe``: blue,
#: green,
#: red, less ImageNet's means. ``torch``: to 0 … 1, less ImageNet's means, over its deviations.
#: ``unit``: to 0 … 1. ``none``: the backbone does it itself.
Preprocessing = Literal["tf", "caffe", "torch", "unit", "none"]

#: Who builds the network. A family is one entry of
#: ``headstart.keras.networks.backbone.BUILDERS``: a backbone of another origin is a record here
#: and a builder there.
Family = Literal["keras.applications", "headstart", "hub"]


@dataclass(frozen=True)
class Backbone:
    """A convolutional base without its classifier.

    Attributes
    ----------
    name : str
        The value of ``backbone.name``.
    function : str
        Its constructor in the family.
    preprocessing : Preprocessing
        What it was trained behind.
    minimum_size, default_size : int
        Side of the image in pixels: the least that it can take, and what it was trained on.
    width : int
        Channels of its last layer at alpha 1.
    alphas : tuple of float
        Width multipliers that there are ImageNet weights for.
    weight_sizes : tuple of int
        Sizes that have ImageNet weights of their own; every other size takes those of the default
        one. Empty: one file serves all.
    license : str
        Of the ImageNet weights, as their authors gave it; "" where we do not know.
    repaired_variance : bool
        Keras' weights file holds deviations where the network expects variances, and Keras adds a
        layer that makes up for it when it loads ImageNet weights, and only then.
    family : Family
        Who builds it. ``headstart``: it is this project's own, and its weights ship with it.
    """

    name: str
    function: str
    preprocessing: Preprocessing
    minimum_size: int
    default_size: int
    width: int
    alphas: tuple[float, ...] = (1.0,)
    weight_sizes: tuple[int, ...] = ()
    license: str = ""
    repaired_variance: bool = False
    family: Family = "keras.applications"

    def width_at(self, alpha: float) -> int:
        """Channels of the last layer with this width multiplier."""
        if self.name == "mobilenet_v2":
            # Narrow ones keep the full last layer; wide ones round to a multiple of 8.
            return self.width if alpha <= 1 else int(self.width * alpha + 4) // 8 * 8
        return int(self.width * alpha)


def _efficientnets() -> list[Backbone]:
    sizes = (224, 240, 260, 300, 380, 456, 528, 600)
    widths = (1280, 1280, 1408, 1536, 1792, 2048, 2304, 2560)
    first = [
        Backbone(
            f"efficientnet_b{index}", f"EfficientNetB{index}", "none", 32, size, width,
            license="Apache-2.0", repaired_variance=True,
        )
        for index, (size, width) in enumerate(zip(sizes, widths, strict=True))
    ]  # fmt: skip
    second = {
        "B0": (224, 1280),
        "B1": (240, 1280),
        "B2": (260, 1408),
        "B3": (300, 1536),
        "S": (384, 1280),
        "M": (480, 1280),
        "L": (480, 1280),
    }
    return first + [
        Backbone(
            f"efficientnet_v2_{key.lower()}", f"EfficientNetV2{key}", "none", 32, size, width,
            license="Apache-2.0",
        )
        for key, (size, width) in second.items()
    ]  # fmt: skip


def _resnets() -> list[Backbone]:
    first = [
        Backbone(f"resnet{depth}", f"ResNet{depth}", "caffe", 32, 224, 2048, license="MIT")
        for depth in (50, 101, 152)
    ]
    return first + [
        Backbone(f"resnet{depth}_v2", f"ResNet{depth}V2", "tf", 32, 224, 2048)
        for depth in (50, 101, 152)
    ]


def _densenets() -> list[Backbone]:
    return [
        Backbone(
            f"densenet{depth}", f"DenseNet{depth}", "torch", 32, 224, width, license="BSD-3-Clause"
        )
        for depth, width in ((121, 1024), (169, 1664), (201, 1920))
    ]


#: Every base by name, in alphabetical order.
BACKBONES: dict[str, Backbone] = {
    record.name: record
    for record in sorted(
        [
            Backbone(
                "mobilenet", "MobileNet", "tf", 32, 224, 1024,
                alphas=(0.25, 0.5, 0.75, 1.0), weight_sizes=(128, 160, 192, 224),
                license="Apache-2.0",
            ),
            Backbone(
                "mobilenet_v2", "MobileNetV2", "tf", 32, 224, 1280,
                alphas=(0.35, 0.5, 0.75, 1.0, 1.3, 1.4), weight_sizes=(96, 128, 160, 192, 224),
                license="Apache-2.0",
            ),
            Backbone(
                "headstart-small", "build_small", "tf", 32, 64, 576, family="headstart",
                license="non-commercial research",
            ),
            Backbone("vgg16", "VGG16", "caffe", 32, 224, 512, license="CC-BY-4.0"),
            Backbone("vgg19", "VGG19", "caffe", 32, 224, 512, license="CC-BY-4.0"),
            Backbone("inception_v3", "InceptionV3", "tf", 75, 299, 2048, license="MIT"),
            Backbone("xception", "Xception", "tf", 71, 299, 2048),
            *_resnets(),
            *_efficientnets(),
            *_densenets(),
        ],
        key=lambda record: record.name,
    )
}  # fmt: skip


#: A module of TensorFlow Hub, whatever it holds: ``backbone.hub`` says which one. By the convention
#: of all that take images, they take 0 … 1.
HUB_MODULE = Backbone(HUB, "", "unit", 1, 224, 0, family="hub")

#: Values of ``backbone.weights`` that are no path.
_WORDS = ("imagenet", "shipped", "random", HUB)


def is_path(weights: str) -> bool:
    """Whether ``backbone.weights`` names a file."""
    return weights not in _WORDS


def known(name: str) -> Backbone | None:
    """The record of a name, :data:`HUB_MODULE` included; None if there is none."""
    return HUB_MODULE if name == HUB else BACKBONES.get(name)


def fit_name(name: str) -> Backbone:
    """The record of a name.

    Raises
    ------
    UnfitError
        With the nearest names.
    """
    if found := known(name):
        return found
    near = difflib.get_close_matches(name.lower().replace("-", "_"), BACKBONES, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(f'`{close}`' for close in near)}? " if near else ""
    raise UnfitError(
        f"one of {len(BACKBONES)} names, or {HUB}", f"{hint}`headstart backbones` lists them all."
    )


def fit_alpha(backbone: Backbone, alpha: float) -> None:
    """Refuse a width multiplier that there are no weights for.

    Raises
    ------
    UnfitError
        With those that there are.
    """
    if alpha not in backbone.alphas:
        known = ", ".join(f"{value:g}" for value in backbone.alphas)
        one_of = "one of " if len(backbone.alphas) > 1 else ""
        raise UnfitError(f"{one_of}{known} with `name: {backbone.name}`")


def fit_size(backbone: Backbone, image_size: int) -> None:
    """Refuse images that leave nothing of the map.

    Raises
    ------
    UnfitError
        With the least size.
    """
    if image_size < backbone.minimum_size:
        raise UnfitError(
            f"an integer ≥ {backbone.minimum_size} with `name: {backbone.name}`",
            f"{backbone.default_size} is what its weights were trained on.",
        )


def fit_weights(backbone: Backbone | None, weights: str) -> None:
    """Refuse the word of another backbone, and a file that cannot be loaded or is not there.

    Parameters
    ----------
    backbone : Backbone or None
        None if the name is wrong, too.
    weights : str
        A path is relative to the current folder.

    Raises
    ------
    UnfitError
        With the nearest word, or the reason.
    """
    if backbone is HUB_MODULE:
        if weights != HUB:
            raise UnfitError(f"{HUB} with `name: {HUB}`", "The module brings its own weights.")
        return
    if backbone is None:
        words, whose = "imagenet, shipped", ""
    else:
        words = "shipped" if backbone.family == "headstart" else "imagenet"
        whose = f" with `name: {backbone.name}`"
    file = "the path of a .weights.h5, .h5 or .npz file"
    expected = f"{words}, random or {file}{whose}"
    if not is_path(weights):
        if weights not in {*words.split(", "), "random"}:
            own = ", ".join(name for name, each in BACKBONES.items() if each.family == "headstart")
            raise UnfitError(
                expected,
                f"`shipped` is for {own}, whose weights come with this project, `imagenet` for all "
                "others.",
            )
        return
    path = Path(weights)
    if path.suffix not in {".h5", ".npz"}:
        near = difflib.get_close_matches(weights.lower(), _WORDS, n=1)
        raise UnfitError(
            expected,
            f"Did you mean `{near[0]}`?"
            if near
            else "Of other formats nothing is loaded: .keras files and pickles can hold code. Load "
            "them where you trust them, and save the weights with "
            "`model.save_weights('base.weights.h5')`.",
        )
    try:
        there = path.is_file()
    except OSError:  # a name that no file can have, or a folder that we may not enter
        there = False
    if not there:
        raise UnfitError(
            f"{words}, random or {file} that exists{whose}",
            f"There is no file {path.absolute()}.",
        )


def find(name: str, alpha: float, image_size: int) -> Backbone:
    """The record of a name, after a check that alpha and size are possible with it.

    Raises
    ------
    ParameterError
        With the nearest names, the alphas, or the least size.
    """
    with _told("name", name):
        backbone = fit_name(name)
    with _told("alpha", alpha):
        fit_alpha(backbone, alpha)
    with _told("image_size", image_size):
        fit_size(backbone, image_size)
    return backbone


def check_weights(backbone: Backbone, weights: str) -> None:
    """Refuse weights that the backbone cannot take.

    Raises
    ------
    ParameterError
        Naming the value that is meant.
    """
    with _told("weights", weights):
        fit_weights(backbone, weights)


@contextmanager
def _told(key: str, value: object) -> Iterator[None]:
    try:
        yield
    except UnfitError as error:
        raise ParameterError(error.sentence(f"backbone.{key}", repr(value))) from None
