"""Converted backbones in the user's cache folder: each is made once.

A folder there has the files that the stage ``backbone`` writes into ``data/backbone``. A separate
process (``python -m headstart.api.backbones``) makes it: TensorFlow stays out of the caller's
process, and the caller's state never affects the bytes of the converted network.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from headstart._utils import locks
from headstart._utils.cache import made_cache_folder
from headstart._utils.errors import CorruptFileError, HeadstartError
from headstart._utils.files import sha256_bytes, sha256_file, sha256_tree, write_text
from headstart.backbones.parameters import BackboneParams, is_address
from headstart.backbones.record import BackboneRecord, read_backbone
from headstart.backbones.registry import FILE, is_path, known
from headstart.stage.run_statistics import RunStatistics

Engine = Literal["litert", "keras"]

#: Code and packages that decide the bytes of a converted backbone, in addition to its parameters.
_ROOMS = ("backbones", "keras", "keras/networks")
_PACKAGES = ("tensorflow", "keras", "numpy")


def defaults(
    name: str, hub: str | None, weights: str | None, image_size: int | None
) -> dict[str, Any]:
    """Return what a section ``backbone`` needs, where the caller left it out.

    Weights are those that the backbone was published with, the size is what these were trained
    on, and the hash of a local file or module is computed.
    """
    if hub is not None:
        sha256 = None if is_address(hub) or not Path(hub).exists() else sha256_tree(Path(hub))
        return {
            "name": "hub",
            "weights": weights or "hub",
            "weights_sha256": sha256,
            "image_size": image_size,
        }
    if name == FILE and weights is not None:
        record = Path(weights)
        return {
            "name": name,
            "weights": weights,
            "weights_sha256": sha256_file(record) if record.is_file() else None,
            "image_size": image_size,
        }
    found = known(name)
    own = "shipped" if found is not None and found.family == "headstart" else "imagenet"
    path = Path(weights) if weights is not None and is_path(weights) else None
    return {
        "name": name,
        "weights": weights or own,
        "weights_sha256": sha256_file(path) if path is not None and path.is_file() else None,
        "image_size": found.default_size
        if found is not None and image_size is None
        else image_size,
    }


def obtain(params: BackboneParams, engine: Engine, seed: int) -> tuple[Path, BackboneRecord]:
    """Return the folder and the record of a converted backbone, which is made if it is absent.

    A folder whose checksums do not match is made again.

    Parameters
    ----------
    params : BackboneParams
    engine : {"litert", "keras"}
        Only LiteRT needs the conversion.
    seed : int
        Seed of the weights with ``weights="random"``; ignored otherwise.

    Raises
    ------
    HeadstartError
        If the weights cannot be obtained, or the backbone cannot be converted.
    """
    recipe = {
        "backbone": params.model_dump(),
        "engine": engine,
        "seed": seed if params.weights == "random" else None,
        "packages": {name: metadata.version(name) for name in _PACKAGES},
        "code": _code(),
    }
    key = sha256_bytes(json.dumps(recipe, sort_keys=True).encode())[:16]
    folder = made_cache_folder("backbones") / f"{params.name}-{key}"
    busy = f"Another process ({{holder}}) is preparing the backbone {params.name}. Waiting …"
    with locks.exclusive_lock(folder.with_name(f"{folder.name}.lock"), busy):
        if folder.exists():
            try:
                return folder, read_backbone(folder)
            except CorruptFileError as error:
                print(f"{error}\nThe backbone is prepared again.", file=sys.stderr, flush=True)
                shutil.rmtree(folder)
        print(
            f"Preparing the backbone {params.name} (once; kept in {folder}) …",
            file=sys.stderr,
            flush=True,
        )
        _make(folder, params, engine, seed)
        return folder, read_backbone(folder)


def _code() -> str:
    """Return a hash of the modules that make a backbone: other code, another folder."""
    root = Path(__file__).parents[1]
    modules = [path for room in _ROOMS for path in sorted((root / room).glob("*.py"))]
    return sha256_bytes("".join(map(sha256_file, modules)).encode())


def _make(folder: Path, params: BackboneParams, engine: Engine, seed: int) -> None:
    """Make the folder in a separate process, whose progress goes to standard error."""
    with tempfile.TemporaryDirectory(prefix="headstart-") as beside:
        fault = Path(beside) / "fault.txt"
        task = {
            "folder": str(folder),
            "backbone": params.model_dump(),
            "engine": engine,
            "seed": seed,
            "fault": str(fault),
        }
        command = [sys.executable, "-m", "headstart.api.backbones", json.dumps(task)]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        if done.returncode == 0:
            return
        message = fault.read_text(encoding="utf-8") if fault.exists() else ""
    raise HeadstartError(
        message
        or f"The backbone {params.name} could not be prepared: the process ended with "
        f"{done.returncode}. Its last lines are on standard error. If memory is short, free some."
    )


def _main(task: dict[str, Any]) -> None:
    from headstart.keras.networks.prepare import prepare_backbone

    try:
        params = BackboneParams(**task["backbone"])
        nowhere = RunStatistics(Path(), "backbone")  # is never written
        folder = Path(task["folder"])
        prepare_backbone(folder, params, task["engine"], task["seed"], nowhere)
    except HeadstartError as error:
        write_text(Path(task["fault"]), str(error))
        sys.exit(error.exit_code)


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
