"""The section ``backbone``: the pretrained network, its cut, and how a map becomes a vector."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator

from headstart._utils.errors import UnfitError
from headstart._utils.records import Sha256
from headstart.backbones.layers import fit_cut
from headstart.backbones.network_record import NetworkRecord, fit_record
from headstart.backbones.registry import (
    FILE,
    HUB,
    BackboneSpec,
    fit_alpha,
    fit_name,
    fit_size,
    fit_weights,
    is_path,
    known,
)
from headstart.stage.sections import Gray16Bits, PositiveFloat, PositiveInt, Section

#: The file that makes a folder a TensorFlow Hub module.
MODULE_GRAPH = "saved_model.pb"
_ARCHIVES = (".tar.gz", ".tgz", ".tar")
_EXPECTED = (
    "an http(s) address of a module, a folder that holds saved_model.pb, or a .tar.gz of one"
)


def is_address(handle: str) -> bool:
    """Return whether a module's handle is downloaded, and not read from this machine."""
    return handle.startswith(("http://", "https://"))


def handle_name(handle: str) -> str:
    """Return a handle for people and records: without local folders, passwords and queries."""
    if is_address(handle):
        parts = urlsplit(handle)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return Path(handle).absolute().name


def fit_handle(handle: str) -> None:
    """Refuse a handle that cannot be a module, or is not there.

    Raises
    ------
    UnfitError
        With the kinds of handles, and the reason.
    """
    if is_address(handle):
        if not urlsplit(handle).netloc:
            raise UnfitError(_EXPECTED, "The address names no host.")
        return
    if "://" in handle:
        raise UnfitError(_EXPECTED, "Download it with the tools of its store, and name the folder.")
    path = Path(handle)
    try:
        folder, file = path.is_dir(), path.is_file()
        graph = folder and (path / MODULE_GRAPH).is_file()
    except OSError:  # an impossible file name, or a folder that we may not enter
        folder = file = graph = False
    if folder and not graph:
        raise UnfitError(_EXPECTED, f"{path.absolute()} holds no {MODULE_GRAPH}.")
    if file and not path.name.endswith(_ARCHIVES):
        raise UnfitError(_EXPECTED, "Other files are not loaded.")
    if not folder and not file:
        raise UnfitError(_EXPECTED, f"There is nothing at {path.absolute()}.")


class BackboneParams(Section):
    """The backbone. ``weights_sha256`` is of the file or module that is named beside it.

    DVC does not track that file, so its hash among the parameters makes other content another run.
    """

    name: Annotated[str, Field(min_length=1)]
    hub: Annotated[str, Field(min_length=1)] | None
    alpha: PositiveFloat
    weights: Annotated[str, Field(min_length=1)]
    weights_sha256: Sha256 | None
    image_size: Annotated[PositiveInt, Field(le=2048)] | None
    cut: str | None
    pooling: Literal["avg", "max", "none"]
    gray16_bits: Gray16Bits | None

    @field_validator("pooling")
    @classmethod
    def _has_something_to_pool(cls, pooling: str, info: ValidationInfo) -> str:
        record = _record(info)
        if record is not None and len(record.feature_shape) == 1 and pooling != "none":
            raise UnfitError(
                f"none with `weights: {info.data['weights']}`",
                "This network gives a feature vector, with nothing left to pool.",
            )
        return pooling

    @field_validator("name")
    @classmethod
    def _is_in_the_table(cls, name: str) -> str:
        fit_name(name)
        return name

    @field_validator("hub")
    @classmethod
    def _is_a_handle(cls, hub: str | None, info: ValidationInfo) -> str | None:
        name = info.data.get("name")
        if hub is None and name == HUB:
            raise UnfitError(
                f"the handle of a module with `name: {HUB}`",
                "It is an address (such as https://tfhub.dev/google/imagenet/mobilenet_v2_100_224/"
                "feature_vector/5), a folder, or a .tar.gz.",
            )
        if hub is not None and name is not None and name != HUB:
            raise UnfitError(f"null with `name: {name}`", f"To use a module, set `name: {HUB}`.")
        if hub is not None:
            fit_handle(hub)
        return hub

    @field_validator("alpha")
    @classmethod
    def _has_weights(cls, alpha: float, info: ValidationInfo) -> float:
        if spec := _spec(info):
            fit_alpha(spec, alpha)
        return alpha

    @field_validator("image_size")
    @classmethod
    def _is_large_enough(cls, image_size: int | None, info: ValidationInfo) -> int | None:
        spec = _spec(info)
        if image_size is None:
            if spec is not None and spec.name not in {HUB, FILE}:
                raise UnfitError(
                    f"an integer with `name: {spec.name}`",
                    f"Its weights were trained on {spec.default_size}; null is for TensorFlow Hub "
                    "modules and files, which state their own size.",
                )
        elif spec is not None and spec.name == FILE:
            raise UnfitError(f"null with `name: {FILE}`", "The record of the file states the size.")
        elif spec is not None:
            fit_size(spec, image_size)
        return image_size

    @field_validator("cut")
    @classmethod
    def _can_be_cut(cls, cut: str | None, info: ValidationInfo) -> str | None:
        if cut is not None and info.data.get("name") == HUB:
            raise UnfitError(f"null with `name: {HUB}`", "A module has no visible layers.")
        record = _record(info)
        if cut is not None and record is not None and record.kind != "keras":
            raise UnfitError(
                f"null with `weights: {info.data['weights']}`",
                "Only a .keras file has visible layers.",
            )
        if cut is not None and (spec := _spec(info)):
            fit_cut(spec.name, cut)
        return cut

    @field_validator("weights")
    @classmethod
    def _can_be_loaded(cls, weights: str, info: ValidationInfo) -> str:
        if info.data.get("name") == FILE:
            fit_record(Path(weights))
        else:
            fit_weights(_spec(info), weights)
        return weights

    @field_validator("weights_sha256")
    @classmethod
    def _belongs_to_a_file(cls, sha256: str | None, info: ValidationInfo) -> str | None:
        hub = info.data.get("hub")
        if hub is not None:
            if sha256 is None and not is_address(hub):
                raise UnfitError(
                    f"a sha256 of 64 hexadecimal digits with `hub: {hub}`",
                    "Without it, other content of that module would go unnoticed "
                    f"(`headstart show module {hub}` prints it).",
                )
            return sha256
        if info.data.get("name") == HUB:  # The handle is wrong, which is reported.
            return sha256
        weights = info.data.get("weights")
        if weights is not None and is_path(weights) and sha256 is None:
            raise UnfitError(
                f"a sha256 of 64 hexadecimal digits with `weights: {weights}`",
                "Without it, other content of that file would go unnoticed "
                f"(`sha256sum {weights}` prints it).",
            )
        if weights is not None and not is_path(weights) and sha256 is not None:
            raise UnfitError(f"null with `weights: {weights}`", "It is for a file of your own.")
        return sha256


def _record(info: ValidationInfo) -> NetworkRecord | None:
    """Return the record that the section names; None with other backbones, or if it is wrong."""
    if info.data.get("name") != FILE or "weights" not in info.data:
        return None
    return fit_record(Path(info.data["weights"]))


def _spec(info: ValidationInfo) -> BackboneSpec | None:
    """Return the table's row of the section's name; None if the name itself is wrong."""
    return known(info.data.get("name", ""))
