"""The table of pretrained backbones, one record each, and checks of a backbone's parameters.

It needs no TensorFlow, so that a wrong name is reported when params.yaml is read.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from headstart._utils.errors import ParameterError, UnfitError

#: ``backbone.name`` and ``backbone.weights`` of a backbone that is a TensorFlow Hub module.
HUB = "hub"
#: ``backbone.name`` of a backbone that is a file with a record; ``backbone.weights`` is its record.
FILE = "file"

#: How pixels from 0 to 255 are scaled before the backbone. ``tf``: to -1 … 1. ``caffe``: blue,
#: green, red, minus ImageNet's means. ``torch``: to 0 … 1, minus ImageNet's means, divided by its
#: deviations. ``unit``: to 0 … 1. ``none``: the backbone scales them itself.
Preprocessing = Literal["tf", "caffe", "torch", "unit", "none"]

#: Who builds the network (:func:`headstart.keras.networks.backbone.build_backbone`); the modules of
#: ``hub`` and networks in files bring their own.
Family = Literal["keras.applications", "headstart", "hub", "file"]


@dataclass(frozen=True)
class BackboneSpec:
    """A row of the table: a convolutional network without its classifier.

    Attributes
    ----------
    name : str
        The value of ``backbone.name``.
    function : str
        Its constructor in the family.
    preprocessing : Preprocessing
        The scaling of pixels in its training.
    default_size : int
        Side in pixels of the images that it was trained on.
    width : int
        Channels of its last layer at alpha 1.
    license : str
        Of the ImageNet weights, as their authors gave it; "" where it is unknown.
    minimum_size : int
        Side in pixels of the smallest images that it takes.
    alphas : tuple of float
        Width multipliers that have ImageNet weights.
    weight_sizes : tuple of int
        Sizes that have ImageNet weights of their own; every other size uses those of the default
        one. Empty: one file serves all.
    repaired_variance : bool
        True if Keras' weights file holds deviations where the network expects variances. Keras
        adds a layer that compensates, but only when it loads ImageNet weights itself.
    gmacs, parameters : float
        Billions of multiply-adds for an image of the default size, and millions of parameters, at
        alpha 1, for estimates of time and disk space.
    family : Family
        Who builds it. ``headstart``: this project, which ships its weights.
    """

    name: str
    function: str
    preprocessing: Preprocessing
    default_size: int
    width: int
    license: str = ""
    minimum_size: int = 32
    alphas: tuple[float, ...] = (1.0,)
    weight_sizes: tuple[int, ...] = ()
    repaired_variance: bool = False
    gmacs: float = 0.0
    parameters: float = 0.0
    family: Family = "keras.applications"


_ROWS = (
    *(
        BackboneSpec(
            f"convnext_{size.lower()}", f"ConvNeXt{size}", "none", 224, width, "MIT",
            gmacs=gmacs, parameters=parameters,
        )
        for size, width, gmacs, parameters in (
            ("Base", 1024, 15.4, 87.6), ("Large", 1536, 34.4, 196.2), ("Small", 768, 8.7, 49.5),
            ("Tiny", 768, 4.5, 27.8), ("XLarge", 2048, 60.9, 348.1),
        )
    ),
    BackboneSpec(
        "densenet121", "DenseNet121", "torch", 224, 1024, "BSD-3-Clause",
        gmacs=2.8, parameters=7,
    ),
    BackboneSpec(
        "densenet169", "DenseNet169", "torch", 224, 1664, "BSD-3-Clause",
        gmacs=3.4, parameters=12.6,
    ),
    BackboneSpec(
        "densenet201", "DenseNet201", "torch", 224, 1920, "BSD-3-Clause",
        gmacs=4.3, parameters=18.3,
    ),
    *(
        BackboneSpec(
            f"efficientnet_b{index}", f"EfficientNetB{index}", "none", size, width, "Apache-2.0",
            repaired_variance=True, gmacs=gmacs, parameters=parameters,
        )
        for index, size, width, gmacs, parameters in (
            (0, 224, 1280, 0.38, 4.0), (1, 240, 1280, 0.67, 6.6),
            (2, 260, 1408, 0.99, 7.8), (3, 300, 1536, 1.8, 10.8),
            (4, 380, 1792, 4.4, 17.7), (5, 456, 2048, 10.2, 28.5),
            (6, 528, 2304, 18.9, 41.0), (7, 600, 2560, 37.3, 64.1),
        )
    ),
    BackboneSpec(
        "efficientnet_v2_b0", "EfficientNetV2B0", "none", 224, 1280, "Apache-2.0",
        gmacs=0.72, parameters=5.9,
    ),
    BackboneSpec(
        "efficientnet_v2_b1", "EfficientNetV2B1", "none", 240, 1280, "Apache-2.0",
        gmacs=1.2, parameters=6.9,
    ),
    BackboneSpec(
        "efficientnet_v2_b2", "EfficientNetV2B2", "none", 260, 1408, "Apache-2.0",
        gmacs=1.7, parameters=8.8,
    ),
    BackboneSpec(
        "efficientnet_v2_b3", "EfficientNetV2B3", "none", 300, 1536, "Apache-2.0",
        gmacs=3, parameters=12.9,
    ),
    BackboneSpec(
        "efficientnet_v2_l", "EfficientNetV2L", "none", 480, 1280, "Apache-2.0",
        gmacs=56, parameters=118,
    ),
    BackboneSpec(
        "efficientnet_v2_m", "EfficientNetV2M", "none", 480, 1280, "Apache-2.0",
        gmacs=25, parameters=53.2,
    ),
    BackboneSpec(
        "efficientnet_v2_s", "EfficientNetV2S", "none", 384, 1280, "Apache-2.0",
        gmacs=8.4, parameters=20.3,
    ),
    BackboneSpec(
        "headstart-small", "build_small", "tf", 64, 576, "non-commercial research",
        family="headstart",
        gmacs=0.07, parameters=1.4,
    ),
    BackboneSpec(
        "inception_resnet_v2", "InceptionResNetV2", "tf", 299, 1536, "Apache-2.0", minimum_size=75,
        gmacs=13.2, parameters=54.3,
    ),
    BackboneSpec(
        "inception_v3", "InceptionV3", "tf", 299, 2048, "MIT", minimum_size=75,
        gmacs=5.7, parameters=21.8,
    ),
    BackboneSpec(
        "mobilenet", "MobileNet", "tf", 224, 1024, "Apache-2.0",
        alphas=(0.25, 0.5, 0.75, 1.0), weight_sizes=(128, 160, 192, 224),
        gmacs=0.57, parameters=3.2,
    ),
    BackboneSpec(
        "mobilenet_v2", "MobileNetV2", "tf", 224, 1280, "Apache-2.0",
        alphas=(0.35, 0.5, 0.75, 1.0, 1.3, 1.4), weight_sizes=(96, 128, 160, 192, 224),
        gmacs=0.3, parameters=2.3,
    ),
    BackboneSpec(
        "mobilenet_v3_large", "MobileNetV3Large", "none", 224, 960, "Apache-2.0",
        alphas=(0.75, 1.0),
        gmacs=0.21, parameters=3.0,
    ),
    BackboneSpec(
        "mobilenet_v3_small", "MobileNetV3Small", "none", 224, 576, "Apache-2.0",
        alphas=(0.75, 1.0),
        gmacs=0.055, parameters=0.94,
    ),
    BackboneSpec(
        "nasnet_large", "NASNetLarge", "tf", 331, 4032, "Apache-2.0",
        gmacs=23.8, parameters=84.9,
    ),
    BackboneSpec(
        "nasnet_mobile", "NASNetMobile", "tf", 224, 1056, "Apache-2.0",
        gmacs=0.56, parameters=4.3,
    ),
    BackboneSpec("resnet101", "ResNet101", "caffe", 224, 2048, "MIT", gmacs=7.6, parameters=42.7),
    BackboneSpec("resnet101_v2", "ResNet101V2", "tf", 224, 2048, gmacs=7.2, parameters=42.6),
    BackboneSpec("resnet152", "ResNet152", "caffe", 224, 2048, "MIT", gmacs=11.3, parameters=58.4),
    BackboneSpec("resnet152_v2", "ResNet152V2", "tf", 224, 2048, gmacs=10.9, parameters=58.3),
    BackboneSpec("resnet50", "ResNet50", "caffe", 224, 2048, "MIT", gmacs=3.9, parameters=23.6),
    BackboneSpec("resnet50_v2", "ResNet50V2", "tf", 224, 2048, gmacs=3.5, parameters=23.6),
    BackboneSpec("vgg16", "VGG16", "caffe", 224, 512, "CC-BY-4.0", gmacs=15.3, parameters=14.7),
    BackboneSpec("vgg19", "VGG19", "caffe", 224, 512, "CC-BY-4.0", gmacs=19.5, parameters=20),
    BackboneSpec(
        "xception", "Xception", "tf", 299, 2048, minimum_size=71,
        gmacs=8.4, parameters=20.9,
    ),
)  # fmt: skip

#: The table, by name.
BACKBONES: dict[str, BackboneSpec] = {spec.name: spec for spec in _ROWS}

#: Any TensorFlow Hub module; ``backbone.hub`` says which one. By convention, all modules that take
#: images take 0 … 1.
HUB_MODULE = BackboneSpec(HUB, "", "unit", 224, 0, minimum_size=1, family="hub")
#: Any network in a file; its record says which, and how its pixels are scaled.
FILE_NETWORK = BackboneSpec(FILE, "", "none", 224, 0, minimum_size=1, family="file")
_OWN = {HUB: HUB_MODULE, FILE: FILE_NETWORK}

#: Values of ``backbone.weights`` that are not paths.
_WORDS = ("imagenet", "shipped", "random", HUB)


def is_path(weights: str) -> bool:
    """Return whether ``backbone.weights`` names a file."""
    return weights not in _WORDS


def known(name: str) -> BackboneSpec | None:
    """Return the row of a name, also of a module or a file of one's own; None if there is none."""
    return _OWN.get(name) or BACKBONES.get(name)


def fit_name(name: str) -> BackboneSpec:
    """Return the row of a name.

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
        f"one of {len(BACKBONES)} names, {HUB} or {FILE}",
        f"{hint}`headstart backbones` lists them all.",
    )


def fit_alpha(spec: BackboneSpec, alpha: float) -> None:
    """Refuse a width multiplier without weights.

    Raises
    ------
    UnfitError
        With those that have weights.
    """
    if alpha not in spec.alphas:
        alphas = ", ".join(f"{value:g}" for value in spec.alphas)
        one_of = "one of " if len(spec.alphas) > 1 else ""
        raise UnfitError(f"{one_of}{alphas} with `name: {spec.name}`")


def fit_size(spec: BackboneSpec, image_size: int) -> None:
    """Refuse images that are too small to leave a map.

    Raises
    ------
    UnfitError
        With the minimum size.
    """
    if image_size < spec.minimum_size:
        raise UnfitError(
            f"an integer ≥ {spec.minimum_size} with `name: {spec.name}`",
            f"Its weights were trained on {spec.default_size}.",
        )


def fit_weights(spec: BackboneSpec | None, weights: str) -> None:
    """Refuse a value meant for another backbone, and a file that is absent or cannot be loaded.

    Parameters
    ----------
    spec : BackboneSpec or None
        None if the name is wrong, too.
    weights : str
        A path is relative to the current folder.

    Raises
    ------
    UnfitError
        With the nearest value, or the reason.
    """
    if spec is HUB_MODULE:
        if weights != HUB:
            raise UnfitError(f"{HUB} with `name: {HUB}`", "The module brings its own weights.")
        return
    if spec is None:
        words, whose = "imagenet, shipped", ""
    else:
        words = "shipped" if spec.family == "headstart" else "imagenet"
        whose = f" with `name: {spec.name}`"
    file = "the path of a .weights.h5, .h5 or .npz file"
    expected = f"{words}, random or {file}{whose}"
    if not is_path(weights):
        if weights not in {*words.split(", "), "random"}:
            own = ", ".join(row.name for row in _ROWS if row.family == "headstart")
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
            else "Other formats are not loaded: .keras files and pickles can hold code. Load them "
            "where you trust them, and save the weights with "
            "`model.save_weights('backbone.weights.h5')`.",
        )
    try:
        there = path.is_file()
    except OSError:  # an impossible file name, or a folder that we may not enter
        there = False
    if not there:
        raise UnfitError(
            f"{words}, random or {file} that exists{whose}",
            f"There is no file {path.absolute()}.",
        )


def find(name: str, alpha: float, image_size: int, weights: str = "random") -> BackboneSpec:
    """Return the row of a name, after checking the other parameters against it.

    Raises
    ------
    ParameterError
        With the nearest names, the alphas, the minimum size, or the weights that fit.
    """
    with _reported("name", name):
        spec = fit_name(name)
    with _reported("alpha", alpha):
        fit_alpha(spec, alpha)
    with _reported("image_size", image_size):
        fit_size(spec, image_size)
    with _reported("weights", weights):
        fit_weights(spec, HUB if spec is HUB_MODULE else weights)
    return spec


@contextmanager
def _reported(key: str, value: object) -> Iterator[None]:
    try:
        yield
    except UnfitError as error:
        raise ParameterError(error.sentence(f"backbone.{key}", repr(value))) from None
