"""The records of TFRecord and ArrayRecord files, one after the other, without TensorFlow.

A TFRecord file is a row of records: length (8 bytes, little endian), masked CRC-32C of the length,
the bytes, masked CRC-32C of the bytes. The first checksum is compared, so that a damaged length
leads nowhere; that of the bytes is left to the decoding of what they hold: in Python it would take
longer than all the rest.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from headstart._utils.errors import SourceError

_HEADER = struct.Struct("<QI")
_FOOTER = 4
_POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), reflected
_MASK = 0xA282EAD8


def read_records(files: Sequence[Path], file_format: str, max_bytes: int) -> Iterator[bytes | None]:
    """The records of files, in order; None for one that is longer than ``max_bytes``.

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
            "Prepare it anew with `file_format='tfrecord'`."
        )
    for path in files:
        if not path.is_file():
            raise SourceError(f"{path} is absent. The data set is not whole: prepare it anew.")
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
            "for this system. Prepare the data set anew with `file_format='tfrecord'`."
        ) from error
    try:
        reader = ArrayRecordReader(str(path))
        for number in range(reader.num_records()):
            record = bytes(reader.read([number])[0])
            yield record if len(record) <= max_bytes else None
    except (RuntimeError, ValueError, IndexError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> SourceError:
    return SourceError(f"{path} is damaged: {why}. Prepare the data set anew.")


def masked_crc32c(content: bytes) -> int:
    """CRC-32C of a few bytes, rotated and shifted as TFRecord files hold it."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (_POLYNOMIAL if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF
