"""Seconds per forward pass on this machine, before the first one: measured, or by arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from headstart._utils.machine import cores
from headstart.backbones.parameters import BackboneParams
from headstart.backbones.registry import known
from headstart.features.store import RecordedStore, recorded_stores

#: LiteRT on one core of a server of 2020: billions of multiply-adds per second, and the seconds to
#: decode and resize a photograph.
_SPEED, _DECODING = 60.0, 0.004
#: A store with fewer passes measures the start more than a pass.
_ENOUGH = 100


@dataclass(frozen=True)
class Rate:
    """Estimated seconds of a pass.

    Attributes
    ----------
    seconds : float
    factor : float
        It may take this many times longer, or shorter.
    source : str
        The origin of the estimate, for people.
    """

    seconds: float
    factor: float
    source: str


MEASURED = "measured here with this backbone"
SCALED = "measured here with {other}, scaled by the arithmetic of the backbones"
TYPICAL = "typical for the arithmetic of the backbone, nothing measured here yet"


def expected_rate(params: BackboneParams) -> Rate | None:
    """Return the seconds of a pass through a backbone; None if its arithmetic is not known.

    Parameters
    ----------
    params : BackboneParams
    """
    arithmetic = typical_seconds(params.name, params.alpha, params.image_size)
    if arithmetic is None:
        return None
    stores = [
        (store, typical)
        for store in recorded_stores()
        if store.passes >= _ENOUGH and (typical := _typical_of(store)) is not None
    ]
    same = [store for store, _ in stores if _is_of(store, params)]
    if same:
        store = max(same, key=lambda each: each.passes)
        return Rate(store.seconds / store.passes, 1.6, MEASURED)
    if stores:
        store, typical = max(stores, key=lambda each: each[0].passes)
        slower = store.seconds / store.passes / typical
        other = f"{store.record['backbone']} at {store.record['image_size']}"
        return Rate(arithmetic * slower, 2.0, SCALED.format(other=other))
    return Rate(arithmetic, 3.0, TYPICAL)


def typical_seconds(name: str, alpha: float, image_size: int | None) -> float | None:
    """Return the typical seconds of a pass on this machine's cores; None if they are not known."""
    spec = known(name)
    if spec is None or not spec.gmacs:
        return None
    # Nearly all work is in convolutions whose channels both grow with alpha.
    work = spec.gmacs * alpha**2 * ((image_size or spec.default_size) / spec.default_size) ** 2
    return (_DECODING + work / _SPEED) / cores()


def _typical_of(store: RecordedStore) -> float | None:
    record = store.record
    try:
        return typical_seconds(record["backbone"], record["alpha"], record["image_size"])
    except (KeyError, TypeError):
        return None


def _is_of(store: RecordedStore, params: BackboneParams) -> bool:
    names = {"backbone": params.name, "alpha": params.alpha, "image_size": params.image_size}
    return all(store.record[name] == value for name, value in names.items())
