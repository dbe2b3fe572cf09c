"""Import a backbone: a network in a file, or a preset of KerasHub, and the record beside it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from headstart._utils.errors import HeadstartError, ParameterError
from headstart._utils.files import atomic_folder, sha256_tree, temporary_folder
from headstart._utils.records import write_record
from headstart.backbones.network_record import NetworkRecord, check_files, read_network_record
from headstart.keras.importing import environment
from headstart.keras.importing.presets import ARCHITECTURES, KERAS_HUB, family_of
from headstart.keras.networks import network_file
from headstart.keras.networks.backbone import scaling

Say = Callable[[str], None]
#: Of the random weights.
_SEED = 0


@dataclass(frozen=True)
class Description:
    """What a person says of a network; None where they leave it to the file or the preset.

    Attributes
    ----------
    preprocessing : str or None
        ``tf``, ``torch``, ``caffe``, ``unit`` or ``none``.
    color_order : {"rgb", "bgr"} or None
        None: that of the preprocessing.
    image_size : int or None
    output, tokens : str or None
        As in a record.
    name, license, source : str or None
    """

    preprocessing: Any = None
    color_order: Literal["rgb", "bgr"] | None = None
    image_size: int | None = None
    output: str | None = None
    tokens: Any = None
    name: str | None = None
    license: str | None = None
    source: str | None = None


@dataclass(frozen=True)
class Imported:
    """A network with its record.

    Attributes
    ----------
    record : NetworkRecord
    path : Path
        Of the record.
    parameters : int
    difference : float or None
        Of a translation from the original, in standard deviations of a feature.
    """

    record: NetworkRecord
    path: Path
    parameters: int
    difference: float | None


def describe_file(network: Path, description: Description) -> Imported:
    """Write the record of a network beside it, after building and comparing the network.

    Raises
    ------
    ParameterError
        If something is needed that the file does not say.
    HeadstartError
        If it cannot be a backbone.
    """
    network = Path(os.path.normpath(network.absolute()))
    check_files(network)
    if description.preprocessing is None:
        raise ParameterError(
            "The option `--preprocessing` is needed: a file does not say how the pixels were "
            "scaled in training, and wrong values give poor features without any error. tf: "
            "-1 to 1; unit: 0 to 1; torch: ImageNet's means and deviations; caffe: blue, green, "
            "red minus ImageNet's means; none: 0 to 255. The network's page says which."
        )
    opened = network_file.open_network(network, description.output)
    size = description.image_size or opened.size
    if size is None:
        raise ParameterError(
            f"The option `--image-size` is needed: {network.name} takes images of any size. Its "
            "page says what it was trained on, often 224."
        )
    scale, offset, order = scaling(description.preprocessing)
    draft = NetworkRecord(
        name=_name(description.name or network.stem),
        file=network.name,
        sha256=sha256_tree(network),
        image_size=size,
        scale=(scale[0], scale[1], scale[2]),
        offset=(offset[0], offset[1], offset[2]),
        color_order=description.color_order or order,
        feature_shape=(1,),
        output=description.output,
        tokens=description.tokens,
        license=description.license or "not stated",
        source=description.source or "a file of your own",
    )
    return _recorded(draft, network, opened)


def import_preset(source: str, folder: Path, description: Description, *, random_weights: bool,
                  say: Say) -> Imported:  # fmt: skip
    """Import a preset of KerasHub into a folder, which gets the SavedModel and its record.

    Parameters
    ----------
    source : str
        ``keras_hub:`` and a preset, a handle (``hf://…``, ``kaggle://…``) or a folder.
    folder : Path
        The SavedModel and the record are added to it; what has their names is replaced.
    description : Description
    random_weights : bool
        Draw the weights instead of downloading them, to try a network.
    say : callable
        Gets lines on the progress.

    Raises
    ------
    HeadstartError
        If the preset cannot be obtained or cannot be a backbone.
    """
    handle = source.removeprefix(KERAS_HUB)
    architecture = ARCHITECTURES.get(handle) if random_weights else None
    if not handle:
        raise ParameterError(f"SOURCE must name a preset after `{KERAS_HUB}`. Got {source!r}.")
    name = _name(description.name or handle.rstrip("/").rpartition("/")[2])
    python = environment.obtain(say)
    say(f"Importing {source} …")
    with temporary_folder("headstart-import") as work:
        task = {
            "architecture": architecture,
            "handle": None if architecture else handle,
            "image_size": description.image_size,
            "random_weights": random_weights,
            "seed": _SEED,
            "target": str(work / name),
        }
        found = environment.run(python, task, work)
        network = folder / name
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_folder(network) as target:
            shutil.copytree(work / name, target, dirs_exist_ok=True)
    draft = NetworkRecord(
        name=name,
        file=name,
        sha256=sha256_tree(network),
        image_size=found["image_size"],
        **_preset_scaling(found, handle, description),
        feature_shape=(1,),
        license=description.license or _license(handle, random_weights=random_weights),
        source=_origin(source, handle, found),
        random_weights=random_weights,
    )
    return _recorded(draft, network, network_file.open_network(network))


def _preset_scaling(found: dict[str, Any], handle: str, description: Description) -> dict[str, Any]:
    family = family_of(handle)
    kind = description.preprocessing or (family.preprocessing if family else None)
    if description.preprocessing is None and "scale" in found:
        scale, offset, order = found["scale"], found["offset"], "rgb"
    elif kind is None:
        raise ParameterError(
            "The option `--preprocessing` is needed (tf, torch, caffe, unit or none): this preset "
            "does not say how its pixels are scaled."
        )
    else:
        scale, offset, order = scaling(kind)
    order = description.color_order or order
    return {"scale": tuple(scale), "offset": tuple(offset), "color_order": order}


def _license(handle: str, *, random_weights: bool) -> str:
    if random_weights:
        return "none needed: random weights"
    family = family_of(handle)
    return family.license if family else "not stated"


def _origin(source: str, handle: str, found: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in sorted(found["packages"].items()))
    local = Path(handle).is_dir()
    shown = f"{KERAS_HUB}{Path(handle).absolute().name}" if local else source
    return f"{shown} ({found['class']}, {packages})"


def _recorded(draft: NetworkRecord, network: Path, opened: network_file.Opened) -> Imported:
    """Build and compare the network, and write its record."""
    model = network_file.build_network(draft, opened)
    record = draft.model_copy(update={"feature_shape": tuple(model.output_shape[1:])})
    difference = network_file.verify(model, record, network)
    path = network.with_name(f"{network.name}.json")
    write_record(path, record)
    read_network_record(path)
    return Imported(record, path, model.count_params(), difference)


def _name(text: str) -> str:
    """Return a name that a record may have."""
    kept = "".join(each if (each.isalnum() and each.isascii()) or each in "_.+-" else "-"
                   for each in text)  # fmt: skip
    found = kept.lstrip("_.+-")[:80]
    if not found:
        raise HeadstartError(f"{text!r} gives no name for the record. Set one with --name.")
    return found
