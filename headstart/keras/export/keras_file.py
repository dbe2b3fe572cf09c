"""The files of Keras (``.keras`` and HDF5): written so that the bytes depend on the model alone.

Keras writes the time and memory addresses into its files, which are made canonical here.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import numpy.typing as npt

from headstart._utils.faults import reached
from headstart._utils.files import atomic_file
from headstart.export.parity import Reading
from headstart.keras.networks.engine import compiled, in_batches
from headstart.keras.runtime import keras, silence

if TYPE_CHECKING:
    from headstart.keras.export.reload import Source

_EPOCH = (1980, 1, 1, 0, 0, 0)
_DATE = "1980-01-01@00:00:00"
_AT_ONCE = 32

Floats = npt.NDArray[np.float32]


def write_keras(source: Source, target: Path) -> None:
    """Write the format ``keras``."""
    rough = target.with_name(f"rough-{target.name}")
    reached("member", target)
    try:
        source.model.save(rough)
        _repack(rough, target)
    finally:
        rough.unlink(missing_ok=True)


def write_h5(source: Source, target: Path) -> None:
    """Write the format ``h5``, the older one of Keras."""
    rough = target.with_name(f"rough-{target.name}")
    reached("member", target)
    try:
        with silence():  # The user has chosen this format; Keras advises against it.
            source.model.save(rough)
        with h5py.File(rough, "r+") as file:
            file.attrs["model_config"] = _renumbered(str(file.attrs["model_config"]).encode())
        # Copied whole: what was replaced above would stay in the file as a gap.
        with h5py.File(rough, "r") as old, h5py.File(target, "w") as new:
            for name in old:
                old.copy(name, new)
            for name, value in old.attrs.items():
                new.attrs[name] = value
    finally:
        rough.unlink(missing_ok=True)


def load_keras(path: Path) -> keras.Model:
    """Load a ``.keras`` or ``.h5`` file as any user would: in safe mode, without our code."""
    return keras.saving.load_model(path, compile=False, safe_mode=True)


def run_keras(model: keras.Model, pixels: npt.NDArray[np.uint8]) -> Floats:
    """Return the probabilities of images of shape (n, size, size, 3)."""
    # One graph for any number of images: layer by layer, Keras takes four times as long.
    return in_batches(compiled(model), pixels, _AT_ONCE)


def read(path: Path, pixels: npt.NDArray[np.uint8], _contents: Sequence[bytes]) -> Reading:
    """Run an exported Keras file on images."""
    return Reading({"pixels": run_keras(load_keras(path), pixels)})


def _repack(source: Path, target: Path) -> None:
    with zipfile.ZipFile(source) as old, atomic_file(target) as file:
        contents = {name: old.read(name) for name in old.namelist()}
        contents["config.json"] = _renumbered(contents["config.json"])
        metadata = {**json.loads(contents["metadata.json"]), "date_saved": _DATE}
        contents["metadata.json"] = json.dumps(metadata, sort_keys=True).encode()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as new:
            for name in sorted(contents):
                member = zipfile.ZipInfo(name, date_time=_EPOCH)
                member.create_system = 3  # Unix, wherever it is written.
                member.external_attr = 0o644 << 16
                new.writestr(member, contents[name])


def _renumbered(config: bytes) -> bytes:
    """Renumber the shared objects of a configuration in order of appearance, not by address."""
    numbers: dict[int, int] = {}

    def walk(value: Any) -> Any:
        if isinstance(value, list):
            return [walk(item) for item in value]
        if not isinstance(value, dict):
            return value
        return {
            key: numbers.setdefault(item, len(numbers)) if key == "shared_object_id" else walk(item)
            for key, item in value.items()
        }

    return json.dumps(walk(json.loads(config))).encode()
