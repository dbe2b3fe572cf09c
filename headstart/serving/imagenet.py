"""A network of keras.applications with its classifier, as a function from pixels to probabilities.

It is trained already, on ImageNet's 1000 classes: nothing of a run of this project is needed.
TensorFlow runs it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headstart._utils.errors import CorruptFileError, ParameterError, UnfitError
from headstart._utils.machine import cores
from headstart.backbones.registry import BACKBONES, Backbone, known
from headstart.serving.prediction import Floats, Pixels

#: The value of ``--weights`` for Keras' own.
IMAGENET = "imagenet"
#: Images that a call takes on a GPU. On a CPU more than one bring little, and alone, what is said
#: of an image does not depend on its neighbors.
_GPU_BATCH = 32


@dataclass(frozen=True)
class Choice:
    """Which network, and with which weights.

    Attributes
    ----------
    backbone : Backbone
    alpha : float
    image_size : int
    weights : Path or None
        None: those that Keras downloads.
    """

    backbone: Backbone
    alpha: float
    image_size: int
    weights: Path | None


@dataclass(frozen=True)
class ImageNetClassifier:
    """A loaded network; several threads may call it at once.

    Attributes
    ----------
    size : int
        Side of the images in pixels.
    classes : tuple of str
        WordNet's numbers in the order of the probabilities: no two are equal, unlike names.
    names : dict of str to str
        From those numbers to names.
    origin : str
        Where the weights came from, for people.
    batch, calls : int
        Images that a call should have, and calls that run at the same time.
    run : callable
        uint8 (n, size, size, 3) to float32 (n, 1000).
    """

    size: int
    classes: tuple[str, ...]
    names: dict[str, str]
    origin: str
    batch: int
    calls: int
    run: Callable[[Pixels], Floats]

    def __call__(self, pixels: Pixels, /) -> Floats:
        """Probabilities of n images.

        Raises
        ------
        CorruptFileError
            If they are no finite numbers.
        """
        found = self.run(pixels)
        if not np.isfinite(found).all():
            raise CorruptFileError(
                f"The network gave what is no finite number, with {self.origin}: that file is "
                "damaged, or was written by a training that diverged. Take another one."
            )
        return found


def choose(name: str, alpha: float, image_size: int | None, weights: str) -> Choice:
    """Check what was asked for, before anything is loaded.

    Parameters
    ----------
    name, alpha, weights
        Values of ``--backbone``, ``--alpha`` and ``--weights``.
    image_size : int or None
        None: what the network was trained on.

    Raises
    ------
    ParameterError
        With what is possible.
    """
    with_it = f"with `--backbone {name}`"
    backbone = _network(name)
    if alpha not in backbone.alphas:
        alphas = ", ".join(f"{value:g}" for value in backbone.alphas)
        one_of = "one of " if len(backbone.alphas) > 1 else ""
        raise _unfit(f"{one_of}{alphas} {with_it}", "--alpha", f"{alpha:g}")
    if image_size is not None and image_size < backbone.minimum_size:
        least = f"an integer ≥ {backbone.minimum_size} {with_it}"
        raise _unfit(least, "--image-size", str(image_size))
    if weights == IMAGENET:
        path = None
    elif not weights.endswith(".h5"):
        kind = f"{IMAGENET} or the path of a .weights.h5 or .h5 file"
        raise _unfit(kind, "--weights", repr(weights))
    elif not Path(weights).is_file():
        there = f"{IMAGENET} or the path of a file that exists"
        raise _unfit(there, "--weights", repr(weights))
    else:
        path = Path(weights)
    return Choice(backbone, alpha, image_size or backbone.default_size, path)


def _network(name: str) -> Backbone:
    whole = [each for each, record in BACKBONES.items() if record.family == "keras.applications"]
    if name in whole:
        return BACKBONES[name]
    hint = "It has no classifier of ImageNet's classes. " if known(name) else ""
    near = difflib.get_close_matches(name.lower().replace("-", "_"), whole, n=3, cutoff=0.5)
    if near and not hint:
        hint = f"Did you mean {' or '.join(f'`{close}`' for close in near)}? "
    expected = f"one of the {len(whole)} networks of keras.applications"
    raise _unfit(expected, "--backbone", repr(name), f"{hint}`headstart backbones` lists them all.")


def _unfit(expected: str, option: str, got: str, hint: str = "") -> ParameterError:
    return ParameterError(UnfitError(expected, hint).sentence(option, got))


def load(choice: Choice) -> ImageNetClassifier:
    """Load a network; weights and names are downloaded if they are not there.

    Raises
    ------
    HeadstartError
        If they cannot be had, or belong to another network.
    """
    from headstart.keras.networks.class_index import read_classes

    classes = read_classes()  # Before TensorFlow, which takes seconds.
    from headstart.keras.runtime import configure, physical_gpus

    configure(cores())
    from headstart.keras.networks.imagenet import function, whole

    made = whole(choice.backbone, choice.alpha, choice.image_size, choice.weights)
    gpu = bool(physical_gpus())
    return ImageNetClassifier(
        size=choice.image_size,
        classes=tuple(one.synset for one in classes),
        names={one.synset: one.name for one in classes},
        origin=made.origin,
        batch=_GPU_BATCH if gpu else 1,
        calls=2 if gpu else cores(),
        run=function(made.model),
    )
