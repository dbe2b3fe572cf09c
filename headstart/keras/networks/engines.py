"""What runs a backbone: LiteRT, or Keras for what LiteRT cannot convert and for a GPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from headstart._utils.machine import KERAS_BATCH, cores
from headstart.backbones.record import NETWORK, BackboneRecord
from headstart.features.extraction import interpreters
from headstart.features.forward_passes import Function


def engine(folder: Path, backbone: BackboneRecord) -> tuple[dict[str, Any], str]:
    """How :func:`extract` is to run the backbone, and the device that it runs on."""
    make: Callable[[], Function]
    if backbone.engine == "keras":
        from headstart.keras.networks.engine import KerasFunction, device

        # Images and views share the one graph that is made.
        make = cache(partial(KerasFunction, folder, backbone, KERAS_BATCH, cores()))
        return {"make_function": make, "batch": KERAS_BATCH, "functions": 1}, device()
    from headstart.backbones.litert import LiteRTFunction

    network = folder / NETWORK
    count, threads = interpreters(network.stat().st_size, cores())
    make = partial(LiteRTFunction, network, threads)
    return {"make_function": make, "functions": count}, "cpu"
