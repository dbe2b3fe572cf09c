"""The weights that ship with the package, and where they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from headstart._utils.errors import CorruptFileError
from headstart._utils.files import sha256_file
from headstart.backbones.weights import read_npz, write_npz
from headstart.keras.runtime import keras

#: Of the small backbone, float16: half the size, and no feature moves by more than a thousandth
#: of its deviation or so.
PATH = Path(__file__).parent / "weights" / "headstart-small.npz"

#: Of that file. Here, so that other weights are other code, which the stage that uses them is
#: known to depend on.
SHA256 = "6a1298dee7711c97e4294612567af5c44374c22bced1b8ab45fddd25e7124780"


def write_shipped(path: Path, base: keras.Model) -> None:
    """Write the weights of a backbone as float16, by their names in it."""
    write_npz(path, {_key(each): np.asarray(each) for each in base.weights}, half=True)


def load_shipped(base: keras.Model) -> None:
    """Give a backbone the weights that ship.

    Raises
    ------
    CorruptFileError
        If the file is not the one that was published, or belongs to another network.
    """
    found = sha256_file(PATH) if PATH.is_file() else "absent"
    if found != SHA256:
        raise CorruptFileError(
            f"{PATH} is not the file that belongs to this version: expected sha256 {SHA256}, got "
            f"{found}. Nothing was loaded. Restore it (`git checkout {PATH.name}` in its folder), "
            "or install Headstart again."
        )
    load_npz(base, PATH)


def load_npz(base: keras.Model, path: Path) -> None:
    """Give a backbone the weights of a file that :func:`write_shipped` wrote.

    Raises
    ------
    CorruptFileError
        If the file is damaged or holds the weights of another network.
    """
    expect = {_key(each): tuple(each.shape) for each in base.weights}
    found = read_npz(path, expect)
    for weight in base.weights:
        weight.assign(found[_key(weight)])


def _key(weight: Any) -> str:
    return str(weight.path).replace("/", ".")
