"""The record of a backbone of one's own: a small JSON file beside the file of the network.

``backbone.weights`` is the path of the record, and ``backbone.weights_sha256`` its SHA-256. The
record names the network and its SHA-256, and says what the network expects, so one hash stands for
both files. ``headstart import-backbone`` writes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from headstart._utils.errors import CorruptFileError, HeadstartError, UnfitError
from headstart._utils.files import files_below, sha256_tree, size_below
from headstart._utils.records import Record, Sha256, read_record

#: Formats of the network, by the end of its name; a folder is a SavedModel.
Kind = Literal["keras", "onnx", "saved_model", "tflite"]
_ENDINGS: dict[str, Kind] = {".keras": "keras", ".onnx": "onnx", ".tflite": "tflite"}
KIND_NAMES: dict[Kind, str] = {
    "keras": ".keras file",
    "onnx": ".onnx file",
    "saved_model": "SavedModel",
    "tflite": ".tflite file",
}
#: Formats that are translated, for which the extra `onnx` is needed.
TRANSLATED = ("onnx", "tflite")
#: The largest network: protocol buffers end at 2 GiB, and larger ones do not convert.
MAX_BYTES = 2 << 30
MAX_FILES = 1_000
#: Of a record.
_MAX_RECORD = 64 << 10
_GRAPH = "saved_model.pb"
_CURE = "`headstart import-backbone PATH` writes a new record."
_EXPECTED = "the path of a record (.json) that `headstart import-backbone` wrote"

_Line = Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f]+$")]
_Three = tuple[
    Annotated[float, Field(allow_inf_nan=False)],
    Annotated[float, Field(allow_inf_nan=False)],
    Annotated[float, Field(allow_inf_nan=False)],
]


class NetworkRecord(Record):
    """What is known of a network in a file.

    Attributes
    ----------
    name : str
        For people.
    file : str
        Name of the network's file or folder, which lies beside the record.
    sha256 : str
        Of the file, or of the folder's files (:func:`headstart._utils.files.sha256_tree`).
    image_size : int
        Side in pixels of the square images that it takes.
    scale, offset : tuple of float
        The network gets ``pixel × scale + offset`` with pixels from 0 to 255; three numbers each,
        in the order of ``color_order``.
    color_order : {"rgb", "bgr"}
        Order of the channels that the network expects.
    feature_shape : tuple of int
        Of one image's features, before any pooling: a vector, or a map with its channels last.
    output : str or None
        The output to use, where the network has several.
    tokens : {"first", "mean"} or None
        Reduction of an output of shape (tokens, width): the first token, which is the class token,
        or the mean of all. None: the network gives a vector or a map.
    license, source : str
        Of the weights, for people.
    random_weights : bool
        The network was never trained.
    """

    format: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,79}$")]
    file: Annotated[str, Field(min_length=1, max_length=200)]
    sha256: Sha256
    image_size: Annotated[int, Field(ge=1, le=2048)]
    scale: _Three
    offset: _Three
    color_order: Literal["rgb", "bgr"]
    feature_shape: Annotated[
        tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1, max_length=3)
    ]
    output: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    tokens: Literal["first", "mean"] | None = None
    license: _Line
    source: _Line
    random_weights: bool = False

    @field_validator("file")
    @classmethod
    def _is_beside_the_record(cls, file: str) -> str:
        if file in {".", ".."} or any(each in file for each in "/\\:") or not file.isprintable():
            raise ValueError("must be the plain name of a file that lies beside the record")
        return file

    @property
    def kind(self) -> Kind:
        """The format of the network."""
        return kind_of(self.file)


def kind_of(file: str) -> Kind:
    """Return the format that a name stands for; whatever has another ending is a SavedModel."""
    return _ENDINGS.get(Path(file).suffix.lower(), "saved_model")


def read_network_record(path: Path) -> tuple[NetworkRecord, Path]:
    """Read a record, and return it with the path of the network beside it.

    Raises
    ------
    CorruptFileError
        If it is not a record.
    HeadstartError
        If there is no network at the place that it names, or only a link.
    """
    if path.is_file() and path.stat().st_size > _MAX_RECORD:
        raise CorruptFileError(f"{path} is larger than any record of a network. {_CURE}")
    record = read_record(path, NetworkRecord, _CURE)
    network = path.parent / record.file
    check_files(network)
    return record, network


def check_files(network: Path) -> None:
    """Refuse what is no network: nothing, a link, or more bytes than one has.

    Raises
    ------
    HeadstartError
        Naming the fault.
    """
    kind = kind_of(network.name)
    fault = None
    if network.is_symlink():
        fault = "is a link, and only the files themselves are used"
    elif not network.exists():
        fault = "does not exist"
    elif kind == "saved_model" and not (network / _GRAPH).is_file():
        fault = (
            f"is neither a .keras, .onnx or .tflite file nor a SavedModel (a folder with {_GRAPH})"
        )
    elif kind != "saved_model" and not network.is_file():
        fault = "is not a file"
    elif size_below(network) > MAX_BYTES:
        fault = f"has more than {MAX_BYTES:,} bytes"
    elif network.is_dir():
        fault = _fault_of_folder(network)
    if fault:
        raise HeadstartError(f"{network} {fault}. Nothing was read.")


def _fault_of_folder(folder: Path) -> str | None:
    files = files_below(folder)
    if len(files) > MAX_FILES:
        return f"holds more than {MAX_FILES:,} files"
    for each in sorted(folder.rglob("*")):
        if each.is_symlink() or not (each.is_file() or each.is_dir()):
            return f"holds {each.name!r}, which is not a plain file"
    return None


def check_sha256(record: NetworkRecord, network: Path) -> None:
    """Compare a network with its record.

    Raises
    ------
    HeadstartError
        If it has another SHA-256.
    """
    found = sha256_tree(network)
    if found != record.sha256:
        raise HeadstartError(
            f"The network {record.file} is not the one that its record names: expected sha256 "
            f"{record.sha256}, got {found}. It was not loaded, and nothing was written. Get the "
            "right file again; if it was changed on purpose, `headstart import-backbone` writes "
            "the record anew."
        )


def fit_record(path: Path) -> NetworkRecord:
    """Refuse a value of ``backbone.weights`` that is no record of a network.

    Raises
    ------
    UnfitError
        With the reason.
    """
    try:
        there = path.is_file()
    except OSError:  # an impossible file name, or a folder that we may not enter
        there = False
    if path.suffix != ".json":
        near = path.with_name(f"{path.name}.json")
        hint = (
            f"Its record is {near}."
            if near.is_file()
            else f"`headstart import-backbone {path}` writes the record of a network."
        )
        raise UnfitError(_EXPECTED, hint)
    if not there:
        raise UnfitError(_EXPECTED, f"There is no file {path.absolute()}.")
    try:
        return read_network_record(path)[0]
    except HeadstartError as error:
        raise UnfitError(_EXPECTED, str(error)) from None
