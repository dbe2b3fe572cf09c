"""A CSV or Parquet file with a row per image: path or address, class, optional split and group.

Every row is an entry. An unusable row is rejected under ``TABLE:ROW`` (rows count from 1, without
the header), and so is one whose file is absent; nothing is left out silently.
Paths are relative to the table's folder, or to ``download.root``, and never lead out of
``download.location``; links are not followed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headstart._utils.errors import ImageError, SourceError
from headstart._utils.names import name_fault, shown
from headstart.downloads.client import RetryPolicy
from headstart.sources.fetched import Address, fetch_images
from headstart.sources.folder import FolderSource
from headstart.sources.layout import split_of
from headstart.sources.source import Assignment, Assignments, Entry, label_of
from headstart.sources.table_file import Columns, read_columns

if TYPE_CHECKING:
    import pandas as pd

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class _Row:
    """A usable row: path or address of the image, and its assignment."""

    number: int
    assignment: Assignment
    path: str = ""
    address: Address | None = None

    @property
    def name(self) -> str:
        """The image's path in the manifest: its path, else its address."""
        return self.path or (self.address.url if self.address else "")


class _Unusable(Exception):  # noqa: N818 - a row's fault, which becomes an entry
    """The reason why a row cannot be used."""


class TableSource:
    """The rows of a table.

    Parameters
    ----------
    folder : Path
        Folder of the table and the images; nothing outside of it is read.
    table : str
        The file, relative to the folder.
    columns : Columns
    root : str or None
        Folder that the paths are relative to; None: the table's own.
    splits : mapping of str to str, or None
        Value of the split column to split; None: the usual names. Empty: the column is not read.
    max_bytes, max_total_bytes : int
        Bounds on an image that is downloaded, and on all images.
    policy : RetryPolicy, optional
        With servers.

    Raises
    ------
    SourceError
        If the table cannot be read or lacks a column, or a server cannot be reached.
    """

    def __init__(
        self,
        folder: Path,
        table: str,
        columns: Columns,
        root: str | None = None,
        splits: Mapping[str, str] | None = None,
        max_bytes: int = 50_000_000,
        max_total_bytes: int = 20_000_000_000,
        policy: RetryPolicy | None = None,
    ) -> None:
        if not folder.is_dir():
            raise SourceError(
                f"`download.location` is {folder}, which is not a folder. With `download.source: "
                "table` it is the folder that holds the table and the images, so that both are "
                "watched; `download.table` names the file in it."
            )
        self._folder, self._table, self._columns, self._splits = folder, table, columns, splits
        self.origin = f"The table {folder / table}"
        self._files = FolderSource(folder, max_total_bytes)
        inside = _steps(table)
        if not inside or not (folder / inside).is_file():
            raise SourceError(
                f"`download.table` is {table!r}, but {folder} holds no such file. Nothing was "
                "written. Name the file relative to `download.location`."
            )
        self._base = _base(inside, root, folder)
        self._known = {entry.path: entry for entry in self._files.entries}
        self._rows: dict[str, _Row] = {}
        self.entries: list[Entry] = []
        self._fetched: dict[str, Path] = {}
        self._read(read_columns(folder / inside, columns))
        self._fetch(max_bytes, max_total_bytes, policy)
        self.entries.sort(key=lambda entry: entry.path)

    @property
    def assignments(self) -> Assignments:
        """The labels, splits and groups of the rows."""
        return _RowAssignments(self._table, self._columns, self._rows, len(self.entries))

    def contents(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes | ImageError]]:
        """Yield the bytes of each wanted row, files before addresses."""
        files = {row.path: name for name, row in self._rows.items() if name in wanted and row.path}
        for path, content in self._files.contents(files.keys()):
            yield files[path], content
        for name in sorted(self._fetched):
            if name in wanted:
                yield name, self._fetched[name].read_bytes()

    def _read(self, frame: pd.DataFrame) -> None:
        """Turn each row into an entry."""
        roles = list(frame.columns)
        for number, values in enumerate(frame.itertuples(index=False), start=1):
            cells = dict(zip(roles, (str(value) for value in values), strict=True))
            try:
                row = self._row(number, cells)
                self._reject_repeated(row)
            except _Unusable as fault:
                detail = f"row {number}: {fault}"
                self.entries.append(Entry(f"{self._table}:{number}", 0, ("bad_row", detail)))
                continue
            self._rows[row.name] = row
            if row.path:
                self.entries.append(self._entry(row))

    def _reject_repeated(self, row: _Row) -> None:
        if other := self._rows.get(row.name):
            same = "" if other.assignment == row.assignment else ", and contradicts it"
            raise _Unusable(f"it repeats {row.name} of row {other.number}{same}")

    def _row(self, number: int, cells: Mapping[str, str]) -> _Row:
        try:
            label = label_of(cells["label"])
        except SourceError as error:
            reason = str(error).partition(" Nothing was written")[0]
            raise _Unusable(reason if cells["label"] else "it has no class") from error
        group = cells.get("group", "")
        if fault := name_fault(group):
            raise _Unusable(f"its group: {fault}")
        assignment = Assignment(label, self._split(cells.get("split", "")), group)
        if path := cells.get("path", ""):
            return _Row(number, assignment, path=self._path(path))
        if url := cells.get("url", ""):
            return _Row(number, assignment, address=_address(url, cells.get("sha256", "").lower()))
        raise _Unusable("it has neither path nor address" if "url" in cells else "it has no path")

    def _split(self, value: str) -> str:
        if not value or self._splits == {}:
            return ""
        split = split_of(value) if self._splits is None else self._splits.get(value)
        if split is None:
            raise _Unusable(f"its split is {value!r}, which `download.splits` does not name")
        return split

    def _path(self, path: str) -> str:
        if fault := name_fault(path):
            raise _Unusable(f"its path {shown(path)!r}: {fault}")
        if path.startswith("/") or "\\" in path or re.match(r"[A-Za-z]:", path):
            raise _Unusable(f"its path {path!r} is not relative with / between folders")
        steps = _steps(path)
        if not steps:
            raise _Unusable(f"its path {path!r} leads out of the folder that paths begin in")
        return f"{self._base}/{steps}" if self._base else steps

    def _entry(self, row: _Row) -> Entry:
        found = self._known.get(row.path)
        if found is not None:
            if found.rejection is None:
                return found
            reason, detail = found.rejection
            return Entry(row.path, 0, (reason, f"row {row.number}: {detail}"))
        parts = row.path.split("/")
        above = (self._known.get("/".join(parts[:depth])) for depth in range(1, len(parts)))
        reason = next((each.rejection[0] for each in above if each and each.rejection), "absent")
        detail = "there is no such file" if reason == "absent" else "a folder in its path is a link"
        return Entry(row.path, 0, (reason, f"row {row.number}: {detail}"))

    def _fetch(self, max_bytes: int, max_total_bytes: int, policy: RetryPolicy | None) -> None:
        remote = {name: row for name, row in self._rows.items() if row.address is not None}
        if not remote:
            return
        loose = sum(not row.address.sha256 for row in remote.values() if row.address)
        if loose:
            print(
                f"{loose:,} of {len(remote):,} addresses have no sha256: their servers may send "
                "another file tomorrow. `download.sha256_column` pins it.",
                flush=True,
            )
        addresses = [row.address for row in remote.values() if row.address]
        found = fetch_images(addresses, max_bytes, max_total_bytes, policy)
        for name, row in remote.items():
            got = found[row.address] if row.address else None
            if isinstance(got, Path):
                self._fetched[name] = got
                self.entries.append(Entry(name, got.stat().st_size))
            elif got is not None:
                fault = (got.reason, f"row {row.number}: {got.detail}")
                self.entries.append(Entry(name, 0, fault))


@dataclass(frozen=True)
class _RowAssignments:
    """The assignments of the rows."""

    table: str
    columns: Columns
    rows: Mapping[str, _Row]
    total: int

    def assign(self, path: str) -> Assignment | tuple[str, str]:
        """Return the assignment of a row."""
        return self.rows[path].assignment

    def describe(self) -> str:
        """Return rows and classes in a sentence, with their columns."""
        assignments = [row.assignment for row in self.rows.values()]
        labels = sorted({each.label for each in assignments})
        named = ", ".join(labels[:8]) + (", …" if len(labels) > 8 else "")
        said = f"Read {self.total:,} rows of {self.table}: {len(labels)} classes ({named})"
        said += f" from the column {self.columns.label!r}"
        splits = Counter(each.predefined_split or "no split" for each in assignments)
        if self.columns.split is not None:
            counts = ", ".join(f"{count:,} {name}" for name, count in sorted(splits.items()))
            said += f"; from {self.columns.split!r}: {counts}"
        if self.columns.group is not None:
            groups = {each.group for each in assignments if each.group}
            said += f"; {len(groups):,} groups from {self.columns.group!r}"
        return f"{said}."


def _steps(path: str) -> str:
    """Return a relative path without ``.`` steps; "" if it leads out or nowhere."""
    parts = [part for part in path.split("/") if part not in {"", "."}]
    return "" if path.startswith("/") or ".." in parts else "/".join(parts)


def _base(table: str, root: str | None, folder: Path) -> str:
    if root is None:
        return table.rpartition("/")[0]
    base = _steps(root)
    if (not base and set(root.split("/")) - {"", "."}) or not (folder / base).is_dir():
        raise SourceError(
            f"`download.root` is {root!r}, which is not a folder in {folder}. Nothing was written. "
            "Name the folder from which the table's paths start, relative to `download.location`."
        )
    return base


def _address(url: str, sha256: str) -> Address:
    if fault := name_fault(url):
        raise _Unusable(f"its address: {fault}")
    if not url.startswith(("http://", "https://")):
        raise _Unusable(f"its address {url!r} does not begin with http:// or https://")
    if sha256 and not _SHA256.fullmatch(sha256):
        raise _Unusable(f"its sha256 is {shown(sha256)!r}, not 64 hexadecimal digits")
    return Address(url, sha256)
