"""What is run for the tutorials' claims: recipes, with what has to be set for what is at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: Weights under the names that ``keras.applications`` gives them, in ``keras/models``.
MOBILENET = "mobilenet_1_0_224_tf_no_top.h5"
MOBILENET_V2 = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
RESNET101_V2 = "resnet101v2_weights_tf_dim_ordering_tf_kernels_notop.h5"
VGG16 = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"

ALIENS, PETS, FRUITS = "alien-vs-predator.zip", "cats-dogs.zip", "fruits360-10.zip"


@dataclass(frozen=True)
class Run:
    """A recipe, as a user would run it.

    Attributes
    ----------
    name : str
        Of its result.
    recipe : str
    what : str
        What tells it from the recipe's other runs, for the page.
    archive, weights : str
        Names in ``datasets`` and ``keras/models`` of the shared folder.
    settings : mapping of str to str
        ``--set`` KEY=VALUE.
    by_path : bool
        Give the weights as a file: Keras has another one for this size, which is not at hand.
    module : bool
        Make a module in TensorFlow Hub's format of these weights, and take that for the backbone.
    instead_of : str
        The backbone whose place another takes here; "": none.
    export : bool
        Run all stages, not only up to the evaluation.
    classified : str
        Folder of the archive, over class folders, whose images the exported model classifies.
    sizes : tuple of int
        Sides in pixels at which the trained model is tried as well.
    seen : str
        Folder of the archive with the images that were trained on, to find copies in.
    """

    name: str
    recipe: str
    what: str
    archive: str
    weights: str
    settings: Mapping[str, str] = field(default_factory=dict)
    by_path: bool = False
    module: bool = False
    instead_of: str = ""
    export: bool = False
    classified: str = ""
    seen: str = ""
    sizes: tuple[int, ...] = ()

    def lacks(self, shared: Path) -> str:
        """What the shared folder has not, as a sentence; "": it has all."""
        for what, folder, name in (
            ("archive", "datasets", self.archive),
            ("file of weights", "keras/models", self.weights),
        ):
            if not (shared / folder / name).is_file():
                return f"the {what} `{name}` is not in `SHARED/{folder}`"
        return ""

    def command(self) -> str:
        """The command that sets params.yaml, with SHARED for the folder."""
        words = [f"headstart recipe {self.recipe}"]
        given = self.all_settings("SHARED", "MODULE", "SHA256")
        words += [f"--set {key}={value}" for key, value in given.items()]
        return " ".join(words)

    def all_settings(self, shared: str, module: str, sha256: str) -> dict[str, str]:
        """Every KEY=VALUE.

        Parameters
        ----------
        shared, module : str
            Where the folder and the module are.
        sha256 : str
            Of the module, or else of the file of weights.
        """
        own = {"download.location": f"{shared}/datasets/{self.archive}", **self.settings}
        if self.module:
            return {**own, "backbone.hub": module, "backbone.weights_sha256": sha256}
        if self.by_path:
            own["backbone.weights"] = f"{shared}/keras/models/{self.weights}"
            own["backbone.weights_sha256"] = sha256
        return own


@dataclass(frozen=True)
class Pair:
    """Two models on the same images.

    Attributes
    ----------
    name, what : str
    first, second : tuple of str
        Name of a run, and which of its models: ``head`` or ``model`` (the final one).
    """

    name: str
    what: str
    first: tuple[str, str]
    second: tuple[str, str]


V2 = {"backbone.name": "mobilenet_v2"}
PLAIN = {"extract_features.views": "0"}
#: A 20th of the 3,211 images that are trained on here, as 500 of 10,000 a class are there.
TWENTIETH = {"sample.train_per_class": "100", "sample.validation_per_class": "20"}
#: The tutorial's first classifier, for as many epochs in both ways.
TEN = {"train_head.epochs": "10", "train_head.early_stopping_patience": "null"}
FROM_ARCHIVE = {"download.source": "archive", "download.name": "null"}

_ALIEN = "alien-vs-predator"
_FOLDER = "alien-vs-predator-images"
_WHOLE = {"classified": f"{_FOLDER}/validation", "seen": f"{_FOLDER}/train", "export": True}
_VGG, _SAMPLE = "cats-vs-dogs-vgg16", "cats-vs-dogs-sample"
_RESNET = "cats-vs-dogs-resnet101v2-finetune"

#: Groups in the order in which they are measured: seconds of the ways last, when nothing else runs.
RUNS: Mapping[str, tuple[Run, ...]] = {
    "alien": (
        Run(
            "alien", _ALIEN, "head only", ALIENS, MOBILENET_V2,
            sizes=(192, 160, 128), **_WHOLE,  # type: ignore[arg-type]  # mixed values
        ),
        Run(
            "alien-steps", _ALIEN, "3 epochs of 21 steps, as there", ALIENS, MOBILENET_V2,
            {"train_head.epochs": "3", "train_head.steps_per_epoch": "21"},
        ),
        Run(
            "alien-tuned", _ALIEN, "fine-tuned", ALIENS, MOBILENET_V2,
            {"fine_tune.epochs": "10"}, **_WHOLE,  # type: ignore[arg-type]  # mixed values
        ),
    ),
    "hub": (
        Run(
            "hub", "alien-vs-predator-hub", "head only", ALIENS, MOBILENET_V2,
            module=True, instead_of="TensorFlow Hub's",
        ),
        Run(
            "hub-pets", "hub-feature-vector", "2 epochs", PETS, MOBILENET_V2,
            {"download.source": "archive"}, module=True, instead_of="TensorFlow Hub's",
        ),
    ),
    "fruits": (
        Run("fruits", "fruits360-mobilenet", "head only", FRUITS, MOBILENET, by_path=True),
    ),
    "cats": (
        Run("cats-vgg16", _VGG, "as it is", PETS, VGG16),
        Run("cats-vgg16-sample", _SAMPLE, "as it is, 100 a class", PETS, VGG16, TWENTIETH),
        Run("cats", _VGG, "2 views an image", PETS, MOBILENET_V2, V2, instead_of="VGG16"),
        Run(
            "cats-sample", _SAMPLE, "100 a class, 2 views an image", PETS, MOBILENET_V2,
            {**V2, **TWENTIETH}, instead_of="VGG16",
        ),
        Run(
            "cats-sample-500", _SAMPLE, "500 a class, 2 views an image", PETS, MOBILENET_V2,
            V2, instead_of="VGG16",
        ),
        Run(
            "cats-plain", _VGG, "no views", PETS, MOBILENET_V2, {**V2, **PLAIN},
            instead_of="VGG16",
        ),
        Run(
            "cats-sample-plain", _SAMPLE, "100 a class, no views", PETS, MOBILENET_V2,
            {**V2, **PLAIN, **TWENTIETH}, instead_of="VGG16",
        ),
    ),
    "resnet": (
        Run("resnet101v2", _RESNET, "as it is", PETS, RESNET101_V2, FROM_ARCHIVE),
        Run(
            "resnet", _RESNET, "fine-tuned from layer 100 of 154 on", PETS, MOBILENET_V2,
            {**FROM_ARCHIVE, **V2}, by_path=True, instead_of="ResNet101V2",
        ),
        Run(
            "resnet-mobilenet", _RESNET, "another plain extractor", PETS, MOBILENET,
            {**FROM_ARCHIVE, "backbone.name": "mobilenet", "fine_tune.epochs": "0"},
            by_path=True, instead_of="VGG16, GoogLeNet and ResNet",
        ),
    ),
    "ways": (
        Run("features-vgg16", "vgg16-features", "as it is", PETS, VGG16),
        Run(
            "way-a", "vgg16-features", "way A, 10 epochs", PETS, MOBILENET,
            {"backbone.name": "mobilenet", "backbone.image_size": "128", **TEN},
            by_path=True, instead_of="VGG16",
        ),
        Run(
            "way-a-again", "vgg16-features", "way A, another learning rate", PETS, MOBILENET,
            {
                "backbone.name": "mobilenet", "backbone.image_size": "128", **TEN,
                "train_head.learning_rate": "0.00005",
            },
            by_path=True, instead_of="VGG16",
        ),
    ),
}  # fmt: skip

PAIRS: Mapping[str, tuple[Pair, ...]] = {
    "alien": (
        Pair("alien-tuned-pair", "fine-tuned minus head only",
             ("alien-tuned", "model"), ("alien-tuned", "head")),
    ),
    "cats": (
        Pair("cats-vgg16-pair", "all images minus the sample",
             ("cats-vgg16", "model"), ("cats-vgg16-sample", "model")),
        Pair("cats-pair", "MobileNetV2, all images minus 100 a class, 2 views an image",
             ("cats", "model"), ("cats-sample", "model")),
        Pair("cats-500-pair", "MobileNetV2, all images minus 500 a class, 2 views an image",
             ("cats", "model"), ("cats-sample-500", "model")),
        Pair("cats-plain-pair", "MobileNetV2, all images minus 100 a class, no views",
             ("cats-plain", "model"), ("cats-sample-plain", "model")),
    ),
    "resnet": (
        Pair("resnet101v2-pair", "fine-tuned minus its own plain extractor",
             ("resnet101v2", "model"), ("resnet101v2", "head")),
        Pair("resnet-pair", "fine-tuned MobileNetV2 minus itself as a plain extractor",
             ("resnet", "model"), ("resnet", "head")),
        Pair("resnet-mobilenet-pair", "fine-tuned MobileNetV2 minus MobileNet as a plain extractor",
             ("resnet", "model"), ("resnet-mobilenet", "head")),
    ),
}  # fmt: skip
