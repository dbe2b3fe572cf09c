"""A ``.keras`` file of a stranger: what it may hold, checked before Keras reads it.

Keras' safe mode refuses Lambda layers and code in bytes. Beyond that, only standard layers are let
through here: no class of another package, no layer that reads a file, and no archive or HDF5 file
that refers to something outside.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from headstart._utils.errors import HeadstartError
from headstart.backbones.network_record import MAX_BYTES
from headstart.keras.runtime import keras

_MEMBERS = {"config.json", "metadata.json", "model.weights.h5"}
_MAX_CONFIG = 64 << 20
#: Modules of the classes that a configuration may name: layers and what belongs to them, and the
#: operations between layers.
_MODULES = re.compile(
    r"keras(\.(layers|models|initializers|regularizers|constraints|activations|dtype_policies))?"
    r"|keras\.src\.(models\.(functional|sequential)|ops\.(numpy|nn|math|core|image)|activations)(\..+)?"
)
#: They run code that comes with the file, read files of this machine, or have no place in a network
#: for images.
_REFUSED = re.compile(
    r"Lambda|TFSMLayer|TorchModuleWrapper|JaxLayer|FlaxLayer|StringLookup|IntegerLookup|Hashing"
    r"|TextVectorization|HashedCrossing|FeatureSpace|Map|Scan|While\w*|Cond|VectorizedMap|CustomGradient"
)


def load_keras_file(path: Path) -> keras.Model:
    """Load a ``.keras`` file of standard layers, in safe mode.

    Returns
    -------
    keras.Model
        Functional or sequential, with one input and one output.

    Raises
    ------
    HeadstartError
        If it is damaged, or holds anything else.
    """
    _check_archive(path)
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many types, depending on the fault
        reason = " ".join(str(error).split())[:400]
        raise HeadstartError(f"Keras cannot load {path.name}: {reason}") from error
    graph = getattr(model, "_functional", model)
    if not hasattr(graph, "_run_through_graph"):
        raise HeadstartError(
            f"{path.name} holds a {type(model).__name__}; a functional or sequential model is "
            "needed."
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise HeadstartError(
            f"{path.name} has {len(model.inputs)} inputs and {len(model.outputs)} outputs; one "
            "batch of images to one array of features is needed."
        )
    return model


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {each.filename: each.file_size for each in archive.infolist()}
            if len(members) != len(archive.infolist()) or set(members) != _MEMBERS:
                raise _refused(
                    path,
                    f"holds {', '.join(sorted(members)[:8])}; expected are "
                    f"{', '.join(sorted(_MEMBERS))}",
                )
            if sum(members.values()) > MAX_BYTES or members["config.json"] > _MAX_CONFIG:
                raise _refused(path, f"unpacks to more than {MAX_BYTES:,} bytes")
            config = json.loads(archive.read("config.json"))
            _check_weights(archive.read("model.weights.h5"), path)
    except (zipfile.BadZipFile, OSError, ValueError, KeyError, RecursionError) as error:
        raise _refused(path, f"is damaged: {error}") from error
    for fault in _faults(config):
        raise _refused(path, fault)


def _faults(config: Any) -> Iterator[str]:
    """Yield what a configuration holds beside standard layers."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        if not isinstance(value, dict):
            continue
        waiting += value.values()
        name, module = value.get("class_name"), value.get("module")
        if name is None:
            continue
        if not isinstance(name, str) or (name.startswith("__") and name not in _PLAIN):
            yield f"holds {name!r}, which can be code"
        elif _REFUSED.fullmatch(name):
            yield f"holds a layer {name}, which can run code or read files"
        elif "module" in value and not (isinstance(module, str) and _MODULES.fullmatch(module)):
            registered = value.get("registered_name") or name
            whose = module or "its author"
            yield f"needs {registered} of {whose}, and only layers of Keras are loaded"


#: Values that Keras writes as objects.
_PLAIN = {
    "__keras_tensor__",
    "__tensor__",
    "__numpy__",
    "__tuple__",
    "__dict__",
    "__ellipsis__",
    "__none__",
}


def _check_weights(content: bytes, path: Path) -> None:
    """Refuse HDF5 files that refer to other files or to themselves."""
    with h5py.File(io.BytesIO(content), "r") as file:
        groups = [file]
        while groups:
            group = groups.pop()
            for name in group:
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise _refused(path, f"holds a link ({name}) among its weights")
                found = group[name]
                if isinstance(found, h5py.Group):
                    groups.append(found)
                elif found.external or found.is_virtual:
                    raise _refused(path, f"keeps {name} in another file")


def _refused(path: Path, fault: str) -> HeadstartError:
    return HeadstartError(
        f"{path.name} was not loaded: it {fault}. Nothing was written. Save the network with "
        "standard layers only (`model.save('network.keras')`), or as a SavedModel."
    )
