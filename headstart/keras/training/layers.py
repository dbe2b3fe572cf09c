"""The layers of a backbone as Keras builds it, with what each holds and what learns."""

from __future__ import annotations

from typing import Literal

import numpy as np

from headstart.keras.networks.backbone import cut_at
from headstart.keras.runtime import keras
from headstart.keras.training.fine_tuning import freeze
from headstart.keras.training.split_backbone import nodes_of, unfrozen

#: Name, kind, output for one image, parameters, those that are trained.
Layer = tuple[str, str, tuple[int, ...], int, int]


def layers_of(
    base: keras.Model,
    cut: str | None,
    unfrozen_from: str | None,
    batch_norm: Literal["inference", "train"],
    *,
    alone: bool = False,
) -> list[Layer]:
    """Every layer of a backbone up to its cut.

    Parameters
    ----------
    base : keras.Model
        Headless and uncut.
    cut : str or None
        As in a backbone's record.
    unfrozen_from : str or None
        First layer that is trained; None: the whole backbone is frozen.
    batch_norm : {"inference", "train"}
        Whether the backbone's batch normalization learns with the layers that do.
    alone : bool
        Whether ``unfrozen_from`` is the only layer that is trained, with frozen ones above it.
    """
    used = cut_at(base, cut)
    names = [node.name for node in nodes_of(used)]
    learning = [] if unfrozen_from is None else unfrozen(names, unfrozen_from, alone=alone)
    freeze(base, learning, batch_norm)
    return [
        (
            layer.name,
            type(layer).__name__,
            tuple(layer.output.shape[1:]),
            int(layer.count_params()),
            sum(int(np.prod(weight.shape)) for weight in layer.trainable_weights),
        )
        for layer in used.layers
    ]
