"""Data sets that TensorFlow Datasets has prepared: their folder, description and records.

TFRecord and ArrayRecord files are read without TensorFlow. A TFRecord file is a sequence of
records: length (8 bytes, little endian), masked CRC-32C of the length, the bytes, masked CRC-32C
of the bytes. The first checksum is compared, so that a damaged length leads nowhere; the second is
not, because that would take longer than all the rest in Python, and decoding the content finds
most damage.
"""

from __future__ import annotations

import difflib
import importlib.util
import json
import os
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from headstart._utils.errors import SourceError
from headstart._utils.extras import needs_extra
from headstart._utils.tables import listed

_INFO = "dataset_info.json"
_MOST_DESCRIPTION = 64 << 20  # bytes of a JSON file of TFDS
_MOST_LISTED = 1000  # prepared data sets that a message knows
_HEADER = struct.Struct("<QI")
_FOOTER = 4
_POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), reflected
_MASK = 0xA282EAD8
_NESTED = b"/ragged_flat_values"
_OWN = "tensorflow_datasets.core.features."
_CLASS = ("pythonClassName", "type")  # the second in older descriptions


@dataclass(frozen=True, order=True)
class Identity:
    """The stated identity of a prepared data set; ``config`` is "" if it has none."""

    name: str
    config: str
    version: str

    def __str__(self) -> str:
        return f"{self.name}{self.config and '/'}{self.config}:{self.version}"

    @classmethod
    def parse(cls, text: str) -> Identity:
        """Return the parts of ``NAME:VERSION`` or ``NAME/CONFIG:VERSION``."""
        names, _, version = text.partition(":")
        name, _, config = names.partition("/")
        return cls(name, config, version)

    @classmethod
    def read(cls, folder: Path) -> Identity | None:
        """Return the identity in a folder's description; None if it has no readable one."""
        found = _described(folder / _INFO)
        values = [found.get(key, "") for key in ("name", "configName", "version")]
        if not all(isinstance(value, str) for value in values) or not values[0]:
            return None
        return cls(*values)


def find_prepared(name: str, location: Path) -> Path:
    """Return the folder of a prepared data set.

    It is searched in ``location`` (which may be the data set's own folder), ``$TFDS_DATA_DIR`` and
    ``~/tensorflow_datasets``. The folder's description decides what it is, not the folder's name.
    A name without a config means the data set without one, or the default that TFDS recorded.

    Raises
    ------
    SourceError
        With the data sets that are prepared, or the command that prepares it.
    """
    wanted = Identity.parse(name)
    places = [location]
    if given := os.environ.get("TFDS_DATA_DIR"):
        places.append(Path(given).expanduser())
    places.append(Path("~/tensorflow_datasets").expanduser())
    there: set[Identity] = set()
    for place in places:
        for folder, default in _candidates(place, wanted):
            if Identity.read(folder) in (wanted, replace(wanted, config=wanted.config or default)):
                return folder
        there |= {found for found in map(Identity.read, _prepared_below(place)) if found}
    raise SourceError(_absent(wanted, places, there))


def _candidates(place: Path, wanted: Identity) -> Iterator[tuple[Path, str]]:
    """Yield the folders that may hold a data set, each with its default config or ""."""
    for home in (place / wanted.name, place):
        default = _default_config(home)
        yield home / wanted.version, default
        yield home / (wanted.config or default) / wanted.version, default
    yield place, _default_config(place.parent.parent)


def _absent(wanted: Identity, places: Sequence[Path], there: Collection[Identity]) -> str:
    names = [str(each) for each in sorted(there)]
    same = [str(each) for each in sorted(there) if each.name == wanted.name]
    near = same or difflib.get_close_matches(str(wanted), names, n=3)
    hint = ""
    if near:
        hint = f" Did you mean {' or '.join(near[:8])}? Put that into `download.name`."
    elif names:
        hint = f" Prepared there: {listed(names)}."
    target = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    # TFDS 4.9 imports it to prepare, and does not depend on it.
    absent = importlib.util.find_spec("importlib_resources") is None
    first = "  pip install importlib_resources\n" if absent else ""
    return (
        f"The data set {wanted} is not prepared in any of {', '.join(map(str, places))}.{hint} "
        "Headstart does not download data sets of TFDS. Prepare it once, on a machine with a "
        f"network and enough space:\n{first}"
        f'  python -c "import tensorflow_datasets as tfds; tfds.builder({str(wanted)!r}, '
        f'data_dir={target!r}).download_and_prepare()"\n'
        "Then run again; on another machine, copy the folder and name it in `download.location`."
    )


def _prepared_below(place: Path) -> Iterator[Path]:
    """Yield the folders below ``place``, NAME/CONFIG/VERSION at most, that hold a description."""
    for depth in ("", "*/", "*/*/", "*/*/*/"):
        for found in islice(place.glob(f"{depth}{_INFO}"), _MOST_LISTED):
            yield found.parent


def _default_config(folder: Path) -> str:
    """Return the default config that TFDS recorded in the folder of a name; "" if it has none."""
    found = _described(folder / ".config" / "metadata.json").get("default_config_name")
    return found if isinstance(found, str) else ""


def _described(path: Path) -> dict[str, Any]:
    """Return a small JSON object that TFDS wrote; empty if there is none that is readable."""
    try:
        if not path.is_file() or path.stat().st_size > _MOST_DESCRIPTION:
            return {}
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def opened(folder: Path) -> Any:
    """Return the read-only builder of a prepared data set."""
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise SourceError(
            f"{needs_extra('`download.source: tfds`', 'tfds', 'tensorflow-datasets')} Nothing was "
            "written."
        ) from error
    _check_classes_of_features(folder / "features.json")
    try:
        return tfds.builder_from_directory(folder)
    except Exception as error:  # a damaged description can raise anything
        raise SourceError(
            f"{folder} cannot be read as a prepared data set: {error}. Prepare it again."
        ) from error


def _check_classes_of_features(path: Path) -> None:
    """Refuse classes that are not TFDS' own, since TFDS imports any module that the file names."""
    try:
        waiting: list[Any] = [json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read: {error}. Prepare the data set again.") from error
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            # A dict under one of these keys is a feature that has that name.
            named = next((node[key] for key in _CLASS if isinstance(node.get(key), str)), _OWN)
            if not named.startswith(_OWN):
                raise SourceError(
                    f"{path} names the class {named!r}, which is not one of TFDS' own. It was not "
                    "imported, since importing runs code. Nothing was written."
                )
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def chosen(info: Any, wanted: Mapping[str, str], name: str) -> tuple[str, str, str | None]:
    """Return the names of image, label and group among the features.

    Parameters
    ----------
    info
        The data set's description.
    wanted : mapping of str to str
        The features for ``path`` (the image), ``label`` and ``group``; without them, those that
        the data set names itself, and no group.
    name : str
        The data set.
    """
    own = [key if isinstance(key, str) else "" for key in info.supervised_keys or ("", "")]
    image = wanted.get("path") or own[0] or "image"
    label = wanted.get("label") or own[1] or "label"
    group = wanted.get("group")
    lines = []
    for key, feature in (("path", image), ("label", label), ("group", group)):
        if feature is not None and feature not in info.features:
            lines.append(f"  - there is no {feature!r} (`download.{key}_column`)")
    if not lines and not _is_image(info.features[image]):
        lines.append(f"  - {image!r} is {info.features[image]}, not an image")
    if not lines and not _is_label(info.features[label]):
        lines.append(f"  - {label!r} is {info.features[label]}, not a class")
    if lines:
        raise SourceError(
            f"{name} is not a data set of images with classes under these names:\n"
            + "\n".join(lines)
            + f"\nIts features: {info.features}. Nothing was written."
        )
    return image, label, group


def _is_image(feature: Any) -> bool:
    kind, shape = np.dtype(feature.np_dtype), feature.shape
    if type(feature).__name__ == "Image":
        return kind in (np.uint8, np.uint16)
    return kind == np.uint8 and len(shape) in {2, 3} and (len(shape) == 2 or shape[2] in {1, 3, 4})


def _is_label(feature: Any) -> bool:
    return hasattr(feature, "int2str") or (
        feature.shape == () and (np.dtype(feature.np_dtype).kind in "iuOS")
    )


def partly(features: Any, names: set[str]) -> tuple[Any, Any]:
    """Return these features alone, and their decoders: images stay encoded files."""
    import tensorflow_datasets as tfds

    # (`tfds.decode.PartialDecoding` would do the same, and import TensorFlow.)
    few = tfds.features.FeaturesDict({name: features[name] for name in sorted(names)})
    skip = {
        name: tfds.decode.SkipDecoding()
        for name in names
        if type(features[name]).__name__ == "Image"
    }
    return few, skip or None


def without_nested(record: bytes, names: set[str]) -> bytes:
    """Return a record without the nested sequences that nobody asked for.

    TFDS stores each one as several features, and refuses them unless they are among those that are
    read.
    """
    if _NESTED not in record:
        return record
    from tensorflow_datasets.proto import tf_example_pb2

    example = tf_example_pb2.Example.FromString(record)
    features = example.features.feature
    for key in [key for key in features if key.partition("/")[0] not in names]:
        del features[key]
    return bytes(example.SerializeToString())


def read_records(files: Sequence[Path], file_format: str, max_bytes: int) -> Iterator[bytes | None]:
    """Yield the records of files, in order; None for one that is longer than ``max_bytes``.

    Parameters
    ----------
    files : sequence of Path
    file_format : str
        ``tfrecord`` or ``array_record``.
    max_bytes : int

    Raises
    ------
    SourceError
        If a file is absent, damaged or of another format.
    """
    readers = {"tfrecord": _tfrecords, "array_record": _array_records}
    if file_format not in readers:
        raise SourceError(
            f"The data set is prepared as {file_format}; tfrecord and array_record are read. "
            "Prepare it again with `file_format='tfrecord'`."
        )
    for path in files:
        if not path.is_file():
            raise SourceError(f"{path} is absent. The data set is incomplete: prepare it again.")
        yield from readers[file_format](path, max_bytes)


def _tfrecords(path: Path, max_bytes: int) -> Iterator[bytes | None]:
    size = path.stat().st_size
    with path.open("rb") as file:
        while header := file.read(_HEADER.size):
            if len(header) < _HEADER.size:
                raise _damaged(path, "it ends in the middle of a record")
            length, checksum = _HEADER.unpack(header)
            if masked_crc32c(header[:8]) != checksum:
                raise _damaged(path, "the length of a record does not fit its checksum")
            if file.tell() + length + _FOOTER > size:
                raise _damaged(path, "it ends in the middle of a record")
            if length > max_bytes:
                file.seek(length + _FOOTER, os.SEEK_CUR)
                yield None
                continue
            yield file.read(length)
            file.seek(_FOOTER, os.SEEK_CUR)


def _array_records(path: Path, max_bytes: int) -> Iterator[bytes | None]:
    try:
        from array_record.python.array_record_module import ArrayRecordReader
    except ImportError as error:
        raise SourceError(
            f"{path} is an ArrayRecord file, which the package array_record reads; there is none "
            "for this system. Prepare the data set again with `file_format='tfrecord'`."
        ) from error
    try:
        reader = ArrayRecordReader(str(path))
        for number in range(reader.num_records()):
            record = bytes(reader.read([number])[0])
            yield record if len(record) <= max_bytes else None
    except (RuntimeError, ValueError, IndexError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> SourceError:
    return SourceError(f"{path} is damaged: {why}. Prepare the data set again.")


def masked_crc32c(content: bytes) -> int:
    """Return the CRC-32C of a few bytes, rotated and shifted as in TFRecord files."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (_POLYNOMIAL if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF
