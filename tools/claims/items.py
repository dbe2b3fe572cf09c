"""What the tutorials claim, by item, and what here shows it, stands in its place, or is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tools.claims.runs import RESNET101_V2, VGG16


@dataclass(frozen=True)
class Claim:
    """An item of a tutorial that says a number, a shape or a score.

    Attributes
    ----------
    item : str
        Its number in docs/tutorial-items.md.
    says : str
        What the tutorial says.
    shows : tuple of str
        What measures just that: ``kind:name``, see :mod:`tools.claims.phrases`.
    instead : tuple of str
        What stands in its place where that cannot be measured.
    value : float or None
        The accuracy that is claimed.
    expected : mapping or None
        Numbers and shapes that are claimed, as ``tools.claims.counts`` prints them.
    lacks : str
        Why it cannot be measured with any of our archives, as a sentence.
    how : str
        How to measure it elsewhere.
    """

    item: str
    says: str
    shows: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()
    value: float | None = None
    expected: Mapping[str, Any] | None = None
    lacks: str = ""
    how: str = ""


def _with(file: str, then: str) -> str:
    return (
        f"Put Keras' `{file}` into `SHARED/keras/models` and run `make claims`. With a network "
        f"it comes by itself: {then}"
    )


_BOTH = _with(
    VGG16,
    "`headstart recipe cats-vs-dogs-vgg16`, `dvc repro`, `git commit`; `headstart recipe "
    "cats-vs-dogs-sample`, `dvc repro`; `headstart compare HEAD workspace`.",
)
_RESNET = _with(
    RESNET101_V2,
    "`headstart recipe cats-vs-dogs-resnet101v2-finetune`, `dvc repro`; plain extractors with "
    "`--set fine_tune.epochs=0 --set backbone.name=vgg16` (inception_v3, resnet50), and "
    "`headstart compare`.",
)

CLAIMS = (
    Claim(
        "0.4", "the feature vector of the module `mobilenet_v2_100_224` of TensorFlow Hub",
        instead=("run:hub/model",),
        lacks="the module was not at hand; one of the same network, made here, takes its place",
        how="With a network it comes by itself: `headstart recipe alien-vs-predator-hub`, `dvc "
        "repro`.",
    ),
    Claim("0.8", "a batch gives answers of (32, 2)", expected={"output": [32, 2]}),
    Claim("0.12", "3 epochs of 21 steps", shows=("run:alien-steps/model",)),
    Claim(
        "0.16", "about .94 of 200 validation images", value=0.94,
        shows=("whole:alien", "whole:alien-tuned"),
    ),
    Claim("0.18", "trained at 224, it can be used at 192, 160 and 128", shows=("sides:alien",)),
    Claim(
        "1.1", "a whole classifier of ImageNet on an image: logits (1, 1001), the class named",
        instead=("imagenet:imagenet",),
        lacks="its network of 1,001 classes was not at hand; a small one of Keras takes its place",
        how="With a network: `headstart classify --imagenet photo.jpg --output classes.png`.",
    ),
    Claim("1.3", "features of (32, 1280)", expected={"output": [32, 1280]}),
    Claim(
        "1.4", "3,843 of 2,261,827 numbers learn",
        expected={"trainable": 3_843, "parameters": 2_261_827},
    ),
    Claim("1.6", "exported and loaded again, the same answers: TRUE", shows=("export:alien",)),
    Claim(
        "1.7", "VGG16 at 150: 14,714,688 numbers, output (4, 4, 512)",
        expected={"parameters": 14_714_688, "output": [4, 4, 512]},
    ),
    Claim("1.8", "way A is quick: the backbone runs once", shows=("ways:a",)),
    Claim("1.9", "way B, end to end, is the same model and costs more", shows=("ways:b",)),
    Claim(
        "2.1", "25,000 images, 20,000 to train", instead=("sizes:cats",),
        lacks="the archive here has 4,000 of such images",
        how="`headstart recipe cats-vs-dogs-vgg16 --set download.location=FILE` on the whole one, "
        "`dvc repro split`, `headstart show tree`.",
    ),
    Claim("2.2", "two corrupt images, removed by name", shows=("aside:cats",)),
    Claim(
        "2.7", "VGG16 with ImageNet's weights (2.6), 10 epochs: .93 on validation", value=0.93,
        shows=("run:cats-vgg16/model",), instead=("run:cats/model", "run:cats-plain/model"),
        how=_BOTH,
    ),
    Claim(
        "2.7, without transfer", "a small network of its own: .76 on validation",
        lacks="nothing here trains a network from the start on its images alone",
        how="Its notebook trains it; no recipe of ours does.",
    ),
    Claim(
        "2.8", "500 images a class to train, 100 to validate", shows=("sizes:cats-sample-500",)
    ),
    Claim(
        "2.10", "on the sample, 20 epochs: about the validation accuracy of all images",
        shows=("run:cats-vgg16-sample/model",),
        instead=("run:cats-sample/model", "run:cats-sample-500/model"),
        how=_BOTH,
    ),
    Claim(
        "2.12", "homework: both models on the whole test set",
        shows=("pair:cats-vgg16-pair",),
        instead=("pair:cats-pair", "pair:cats-500-pair", "pair:cats-plain-pair"),
        how=_BOTH,
    ),
    Claim(
        "3.1", "23,262 images, divided 8/1/1", instead=("sizes:resnet",),
        lacks="`cats_vs_dogs` of TensorFlow Datasets was not at hand",
        how="`headstart recipe cats-vs-dogs-resnet101v2-finetune`, `dvc repro split`, `headstart "
        "show tree`.",
    ),
    Claim(
        "3.9", "ResNet101V2 from layer 100 on, 10 epochs: loss .43, accuracy .98 on test",
        value=0.98, shows=("run:resnet101v2/model",), instead=("run:resnet/model",),
        how=_RESNET,
    ),
    Claim(
        "3.10", "fine-tuned, it is better than VGG16, GoogLeNet and ResNet as plain extractors",
        shows=("pair:resnet101v2-pair",),
        instead=("pair:resnet-pair", "pair:resnet-mobilenet-pair"),
        how=_RESNET,
    ),
    Claim(
        "4.1", "102 classes, 52,718 and 17,692 images", instead=("sizes:fruits",),
        lacks="the archive here has 10 of the classes and half of their images",
        how="`headstart recipe fruits360-mobilenet --set download.location=FILE` on the whole one, "
        "`dvc repro`.",
    ),
    Claim(
        "4.5", "MobileNet with its top at 224: 4,253,864 numbers",
        expected={"parameters": 4_253_864},
    ),
    Claim(
        "4.6", "without it at 128: 3,228,864, (4, 4, 1024), none learns",
        expected={"trainable": 0, "parameters": 3_228_864, "output": [4, 4, 1024]},
    ),
    Claim(
        "4.7", "under 102 sigmoids 104,550 of 3,333,414 learn",
        expected={"trainable": 104_550, "parameters": 3_333_414},
    ),
    Claim(
        "4.9", "no score that can be held against ours: it reports binary accuracy",
        shows=("run:fruits/model",),
    ),
    Claim("4.10", "1,648 steps an epoch, 553 to validate", expected={"steps": [1_648, 553]}),
    Claim(
        "4, mistake", "saying no to all 102 classes scores .9902",
        expected={"binary_accuracy": 0.9902},
    ),
)  # fmt: skip
