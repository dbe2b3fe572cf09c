"""Estimate the forward passes of the next extraction: images in use, minus recorded features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from headstart.backbones.record import BackboneRecord, read_backbone
from headstart.backbones.registry import known
from headstart.datasets.samples import draw
from headstart.datasets.splits import split
from headstart.features.extraction import fingerprint_record
from headstart.features.store import estimate, recorded_stores
from headstart.features.views import RecordedViews


def images_in_use(
    images: pd.DataFrame, parameters: Any, duplicates: Mapping[str, str]
) -> pd.DataFrame:
    """Return the manifest as `split` and `sample` will leave it, computed in memory.

    Parameters
    ----------
    images : DataFrame
        The image manifest.
    parameters : Parameters
        All sections, as :func:`headstart.stage.parameters.read_params` returns them.
    duplicates : mapping of str to str
        Group of near duplicates by image id.

    Raises
    ------
    HeadstartError
        If the images cannot be split.
    """
    manifest = split(images, parameters.split, parameters.seed, duplicates).manifest
    return draw(manifest, parameters.sample, parameters.seed)


def store_keys(used: pd.DataFrame, parameters: Any) -> tuple[list[str], list[str]]:
    """Return the feature store's keys: of the images in use, and of their recorded views."""
    views = _views(parameters)
    train = dict.fromkeys(used.loc[used["split"] == "train", "image_id"]) if views.count else ()
    keys = [key for image_id in train for key in views.keys(image_id)]
    return list(dict.fromkeys(used["image_id"])), keys


def missing_features(
    backbone: Path, images: Sequence[str], views: Sequence[str], parameters: Any
) -> tuple[int, float | None]:
    """Return how many features the stores lack, and the seconds per forward pass.

    Parameters
    ----------
    backbone : Path
        The folder of the converted backbone.
    images, views : sequence of str
        As :func:`store_keys` returns them.
    parameters : Parameters

    Returns
    -------
    missing : int
    seconds : float or None
        Mean seconds per missing feature; None if none was ever measured.
    """
    record = fingerprint_record(read_backbone(backbone), parameters.extract_features.engine)
    plain = estimate(record, images)
    augmented = estimate(_views(parameters).record(record), views)
    missing = plain.missing + augmented.missing
    # A kind that was never measured takes about as long as the other.
    known = [s for s in (plain.seconds_per_pass, augmented.seconds_per_pass) if s is not None]
    if not missing or not known:
        return missing, known[0] if known else None
    seconds = plain.missing * known[0] + augmented.missing * known[-1]
    return missing, seconds / missing


def missing_before_conversion(
    images: Sequence[str], views: Sequence[str], parameters: Any
) -> tuple[int, int]:
    """Return how many features are lacking at least and at most, for a backbone yet to be made.

    A store counts if it may be that backbone's: everything but the hashes of weights and network,
    which are not known yet, is the same.

    Parameters
    ----------
    images, views : sequence of str
        As :func:`store_keys` returns them.
    parameters : Parameters
    """
    plain = _expected(parameters)
    augmented = _views(parameters).record(plain)
    most = len(images) + len(views)
    least = most
    stores = list(recorded_stores())
    for expected, keys in ((plain, images), (augmented, views)):
        alike = [store.record for store in stores if _may_be(store.record, expected)]
        cached = [len(keys) - estimate(record, keys).missing for record in alike]
        least -= max(cached, default=0)
    return least, most


_UNKNOWN = {"weights_sha256", "network_sha256"}


def _expected(parameters: Any) -> dict[str, Any]:
    """Return the record of the plain images, without what the conversion decides."""
    params, spec = parameters.backbone, known(parameters.backbone.name)
    backbone = BackboneRecord.model_construct(
        name=params.name,
        alpha=params.alpha,
        cut=params.cut,
        pooling=params.pooling,
        preprocessing="" if spec is None else spec.preprocessing,
        image_size=params.image_size,
        gray16_bits=params.gray16_bits,
        weights_sha256="",
        tflite_sha256="",
    )
    return fingerprint_record(backbone, parameters.extract_features.engine)


def _may_be(record: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    unknown = _UNKNOWN | {name for name in ("image_size",) if expected[name] is None}
    if expected["engine"] == "keras":
        unknown |= {"device", "batch"}  # only TensorFlow knows whether there is a GPU
    return record.keys() == expected.keys() and all(
        record[name] == value for name, value in expected.items() if name not in unknown
    )


def _views(parameters: Any) -> RecordedViews:
    return RecordedViews.of(parameters.extract_features, parameters.seed)
