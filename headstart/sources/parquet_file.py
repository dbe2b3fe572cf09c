"""Read columns of a Parquet file as text, and the images inside it, both bounded.

Hugging Face stores a data set so: a column of ``{bytes, path}`` with an encoded image per row, and
class names in the metadata of the file, for a column of their numbers.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart._utils.errors import ImageError, SourceError
from headstart._utils.extras import needs_extra
from headstart._utils.tables import listed

if TYPE_CHECKING:
    import pandas as pd

#: Why some labels are refused, and what to do.
NO_REGRESSION = (
    "Headstart distinguishes classes and does not predict numbers. If the numbers stand for "
    "classes, write them as integers; otherwise divide them into ranges, in a separate column."
)
NO_MULTI_LABEL = (
    "Headstart gives each image one class, and none has several. Keep the label that matters, or "
    "train one model for each label (with and without it)."
)
MOST_ROWS = 2_000_000
MOST_BYTES = 1 << 30  # of the text of a table, packed and unpacked
_MOST_GROUP = 2 << 30  # of the images of a row group, which is read at once
_BATCH = 64


def is_parquet(path: Path) -> bool:
    """Return whether the name is one of a Parquet file."""
    return path.suffix.lower() == ".parquet"


def parquet_columns(path: Path) -> list[str]:
    """Return the names of the columns."""
    with _opened(path) as file:
        return list(file.schema_arrow.names)


def read_parquet(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return columns as text; numbers of classes become the names that the file states.

    Parameters
    ----------
    path : Path
    columns : mapping of str to str
        Role to the name of a column of the file.

    Raises
    ------
    SourceError
        If it is too large, or a column has no unique text.
    ValueError
        If the file is damaged.
    """
    import pandas as pd

    wanted = list(dict.fromkeys(columns.values()))
    with _opened(path) as file:
        unpacked = sum(_unpacked(file, wanted))
        if file.metadata.num_rows > MOST_ROWS or unpacked > MOST_BYTES:
            raise SourceError(
                f"{path} has {file.metadata.num_rows:,} rows that unpack to {unpacked:,} bytes; at "
                f"most {MOST_ROWS:,} and {MOST_BYTES:,} are read."
            )
        table = file.read(columns=wanted)
    _check_kinds(path, table.schema, columns.get("label", ""))
    cells = {name: table.column(name).to_pylist() for name in wanted}
    label = columns.get("label", "")
    if names := _class_names(table.schema, label):
        cells[label] = _named(path, label, cells[label], names)
    plain = {
        name: ["" if cell is None else str(cell) for cell in values]
        for name, values in cells.items()
    }
    return pd.DataFrame(plain, dtype="str")


class EmbeddedImages:
    """The encoded images in a column of a Parquet file.

    Parameters
    ----------
    path : Path
    column : str
    most : int
        Bound on the bytes of all images.

    Attributes
    ----------
    sizes : dict of int to int
        Number of a row, from 1, to the bytes of its image. Rows without an image are left out.

    Raises
    ------
    SourceError
        If the file is damaged, or the images are larger than the bound.
    """

    def __init__(self, path: Path, column: str, most: int) -> None:
        self._path, self._column = path, column
        with _embedded(path) as file:
            groups = _unpacked(file, [column])
            if sum(groups) > most:
                raise SourceError(
                    f"{path} holds images of {sum(groups):,} bytes; `download.max_total_bytes` "
                    f"allows {most:,}. Nothing was written. Raise it if you want the images."
                )
            if max(groups, default=0) > _MOST_GROUP:
                raise SourceError(
                    f"{path} has a row group with images of {max(groups):,} bytes, which is read "
                    f"at once; at most {_MOST_GROUP:,} are. Nothing was written. Write the file "
                    "with smaller row groups (`row_group_size=1000`)."
                )
            self.sizes = {
                number: len(content)
                for number, content in self._rows(file)
                if content is not None and len(content)
            }

    def contents(self, wanted: Collection[int]) -> Iterator[tuple[int, bytes | ImageError]]:
        """Yield the bytes of each wanted row, in the order of the rows."""
        with _embedded(self._path) as file:
            for number, content in self._rows(file):
                if number in wanted:
                    changed = content is None or len(content) != self.sizes[number]
                    yield (
                        number,
                        ImageError("unreadable", "the file changed while it was read")
                        if changed
                        else content.as_py(),
                    )

    def _rows(self, file: Any) -> Iterator[tuple[int, Any]]:
        """Yield the number of each row and its bytes as a buffer; None if there are none."""
        number = 0
        for batch in file.iter_batches(batch_size=_BATCH, columns=[self._column]):
            cells = batch.column(0)
            if _is_struct(cells.type):
                cells = cells.flatten()[cells.type.get_field_index("bytes")]
            for cell in cells:
                number += 1
                yield number, _Bytes(cell) if cell.is_valid else None


class _Bytes:
    """The bytes of a cell, which are copied only where they are asked for."""

    def __init__(self, cell: Any) -> None:
        self._buffer = cell.as_buffer()

    def __len__(self) -> int:
        return int(self._buffer.size)

    def as_py(self) -> bytes:
        return bytes(self._buffer.to_pybytes())


def embedded_images(path: Path, column: str | None, most: int) -> EmbeddedImages | None:
    """Return the images of a column; None if the file or the column holds none.

    Raises
    ------
    SourceError
        If they cannot be read.
    """
    if column is None or not is_parquet(path):
        return None
    with _embedded(path) as file:
        schema = file.schema_arrow
        # A name that stands twice is refused by whoever reads the other columns.
        index = schema.get_field_index(column)
        if index < 0 or not _holds_images(schema.field(index).type):
            return None
    return EmbeddedImages(path, column, most)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Yield the Parquet file; its own errors become those of a file that is no table."""
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise SourceError(
            needs_extra(f"The Parquet file {path}", "parquet", "pyarrow")
            + " Or write the table as CSV. Nothing was written."
        ) from error
    try:
        with parquet.ParquetFile(path, pre_buffer=False) as file:
            yield file
    except pa.ArrowException as error:
        raise ValueError(error) from error


@contextmanager
def _embedded(path: Path) -> Iterator[Any]:
    try:
        with _opened(path) as file:
            yield file
    except (ValueError, OSError) as error:
        why = " ".join(str(error).split()).rstrip(".")
        raise SourceError(
            f"{path} cannot be read: {why}. Nothing was written. It is no Parquet file, or it is "
            "damaged: fetch or write it again."
        ) from error


def _unpacked(file: Any, columns: Sequence[str]) -> list[int]:
    """Return the unpacked bytes of some columns, by row group."""
    return [
        sum(
            chunk.total_uncompressed_size
            for chunk in (group.column(number) for number in range(group.num_columns))
            if chunk.path_in_schema.partition(".")[0] in columns
        )
        for group in map(file.metadata.row_group, range(file.metadata.num_row_groups))
    ]


def _class_names(schema: Any, column: str) -> list[str]:
    """Return the names of the classes by number, as Hugging Face states them; [] if it does not."""
    from pyarrow import types

    if not column or not types.is_integer(schema.field(column).type):
        return []
    try:
        stated = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = stated["info"]["features"][column]["names"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    usable = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return names if usable else []


def _named(
    path: Path, column: str, numbers: Sequence[int | None], names: Sequence[str]
) -> list[str]:
    """Return the name of each number; "" for -1, which stands for no label."""
    beyond = {number for number in numbers if number is not None and number != -1} - set(
        range(len(names))
    )
    if beyond:
        raise SourceError(
            f"{path}: the column {column!r} holds {min(beyond)}, but the file states the names of "
            f"the classes 0 to {len(names) - 1} only ({listed(names)}). Nothing was written. "
            "Correct the file, or remove the names from its metadata."
        )
    print(
        f"{path}: the numbers in the column {column!r} are the classes that the file names: "
        f"{listed([f'{number} {name}' for number, name in enumerate(names)])}.",
        flush=True,
    )
    return ["" if number in {None, -1} else names[number] for number in numbers]


def _check_kinds(path: Path, schema: Any, label: str) -> None:
    """Refuse numbers with fractions, dates and the like: they have no unique text."""
    from pyarrow import types

    for field in schema:
        kind = field.type.value_type if types.is_dictionary(field.type) else field.type
        tests = (types.is_string, types.is_large_string, types.is_integer, types.is_null)
        if any(test(kind) for test in tests):
            continue
        why = ""
        if field.name == label and types.is_floating(kind):
            why = f" {NO_REGRESSION}"
        elif field.name == label and (types.is_list(kind) or types.is_large_list(kind)):
            why = f" {NO_MULTI_LABEL}"
        elif _holds_images(kind):
            why = " Name a column of images in `download.path_column`."
        raise SourceError(
            f"{path}: the column {field.name!r} holds {field.type}; text or integers are read."
            f"{why} Nothing was written."
        )


def _is_struct(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_struct(kind))


def _holds_images(kind: Any) -> bool:
    """Return whether a column holds bytes, or structs with a field ``bytes`` of them."""
    from pyarrow import types

    if types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _holds_images(kind.field(index).type)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))
