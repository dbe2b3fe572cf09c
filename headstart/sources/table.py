"""A CSV or Parquet file with a row per image: path or address, class, optional split and group.

A Parquet file may hold the images themselves; the image of row 3 is then ``TABLE/0000003``.

Every row is an entry. An unusable row is rejected under ``TABLE:ROW`` (rows count from 1, without
the header), and so is one whose file is absent; nothing is left out silently.
Paths are relative to the table's folder, or to ``download.root``, and never lead out of
``download.location``; links are followed if ``download.follow_links`` says so.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headstart._utils.errors import ImageError, SourceError
from headstart._utils.names import name_fault, shown, without_credentials
from headstart._utils.tables import counted, listed
from headstart.downloads.client import RetryPolicy
from headstart.sources.class_names import spelling_note
from headstart.sources.fetched import Address, fetch_images
from headstart.sources.folder import FolderSource
from headstart.sources.folder_names import split_of
from headstart.sources.parameters import DownloadParams
from headstart.sources.parquet_file import embedded_images
from headstart.sources.source import Assignment, Entry, label_of
from headstart.sources.table_file import check_labels, read_columns
from headstart.stage.inputs import missing_source

if TYPE_CHECKING:
    import pandas as pd

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class _Row:
    """A usable row: the image's assignment, and its path or its address."""

    number: int
    name: str
    assignment: Assignment
    address: Address | None = None


class _Unusable(Exception):  # noqa: N818 - a row's fault, which becomes an entry
    """The reason why a row cannot be used."""


class TableSource:
    """The rows of a table.

    Parameters
    ----------
    params : DownloadParams
        ``table`` is relative to the folder, and paths are relative to ``root`` (None: to the
        table's own folder); ``path_suffix`` is appended to paths that do not end with it.
        ``splits`` leads from values of the split column to splits (None: the usual names; empty:
        the column is not read). The limits are those of an image that is
        downloaded, and of all images.
    folder : Path
        Folder of the table and the images; nothing outside of it is read.
    policy : RetryPolicy, optional
        With servers.

    Raises
    ------
    SourceError
        If the table cannot be read or lacks a column, or a server cannot be reached.
    """

    def __init__(
        self, params: DownloadParams, folder: Path, policy: RetryPolicy | None = None
    ) -> None:
        if not folder.exists():
            raise missing_source(folder)
        if not folder.is_dir():
            raise SourceError(
                f"`download.location` is {folder}, which is not a folder. With `download.source: "
                "table` it is the folder that holds the table and the images, so that both are "
                "watched; `download.table` names the file in it."
            )
        self._table, self._splits = params.table or "", params.splits
        self.origin = f"The table {folder / self._table}"
        self._suffix = params.path_suffix or ""
        self._files = FolderSource(folder, params.max_total_bytes, bool(params.follow_links))
        inside = _steps(self._table)
        if not inside or not (folder / inside).is_file():
            raise SourceError(
                f"`download.table` is {self._table!r}, but {folder} holds no such file. Nothing "
                "was written. Name the file relative to `download.location`."
            )
        self._base = _base(inside, params.root, folder)
        self._known = {entry.path: entry for entry in self._files.entries}
        self._near = NearPaths(self._known, self._base)
        self._rows: dict[str, _Row] = {}
        self._spellings: set[str] = set()
        self.entries: list[Entry] = []
        columns = dict(params.columns)
        self._embedded = embedded_images(
            folder / inside, params.path_column, params.max_total_bytes
        )
        if self._embedded is not None:
            del columns["path"]
        self._read(read_columns(folder / inside, columns))
        labels = [row.assignment.label for row in self._rows.values()]
        check_labels(folder / inside, params.label_column or "", labels)
        self._fetched = self._fetch(params, policy)
        self.entries.sort(key=lambda entry: entry.path)
        self.summary = self._described(params.columns)

    def contents(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes | ImageError]]:
        """Yield the bytes of each wanted row: files, images inside the table, addresses."""
        yield from self._files.contents(wanted)
        if self._embedded is not None:
            names = {row.number: name for name, row in self._rows.items() if name in wanted}
            for number, content in self._embedded.contents(names):
                yield names[number], content
        for name in sorted(self._fetched):
            if name in wanted:
                yield name, self._fetched[name].read_bytes()

    def _read(self, frame: pd.DataFrame) -> None:
        """Turn each row into an entry, except usable rows with an address."""
        for number, values in enumerate(frame.itertuples(index=False), start=1):
            cells = dict(zip(frame.columns, (str(value) for value in values), strict=True))
            try:
                row = self._row(number, cells)
            except _Unusable as fault:
                detail = f"row {number}: {fault}"
                self.entries.append(Entry(f"{self._table}:{number}", 0, ("bad_row", detail)))
                continue
            self._rows[row.name] = row
            if row.address is None:
                self.entries.append(self._entry(row))

    def _row(self, number: int, cells: Mapping[str, str]) -> _Row:
        try:
            label = label_of(cells["label"])
        except SourceError as error:
            reason = str(error).partition(" Nothing was written")[0]
            raise _Unusable(reason if cells["label"] else "it has no class") from error
        group = cells.get("group", "")
        if fault := name_fault(group):
            raise _Unusable(f"its group: {fault}")
        self._spellings.add(cells["label"])
        assignment = Assignment(label, self._split(cells.get("split", "")), group)
        if self._embedded is not None:
            if number not in self._embedded.sizes:
                raise _Unusable("it holds no image")
            row = _Row(number, f"{self._table}/{number:07}", assignment)
        elif path := cells.get("path", ""):
            row = _Row(number, self._path(path), assignment)
        elif url := cells.get("url", ""):
            address = _address(url, cells.get("sha256", "").lower())
            row = _Row(number, address.name, assignment, address)
        else:
            raise _Unusable(
                "it has neither path nor address" if "url" in cells else "it has no path"
            )
        if other := self._rows.get(row.name):
            same = "" if other.assignment == assignment else ", and contradicts it"
            raise _Unusable(f"it repeats {row.name} of row {other.number}{same}")
        return row

    def _split(self, value: str) -> str:
        if not value or self._splits == {}:
            return ""
        split = split_of(value) if self._splits is None else self._splits.get(value)
        if split is None:
            raise _Unusable(f"its split is {value!r}, which `download.splits` does not name")
        return str(split)

    def _path(self, path: str) -> str:
        if fault := name_fault(path):
            raise _Unusable(f"its path {shown(path)!r}: {fault}")
        if path.startswith("/") or "\\" in path or re.match(r"[A-Za-z]:", path):
            relative = not re.match(r"/|\\|[A-Za-z]:", path)
            cure = f": write {path.replace(chr(92), '/')}" if relative else ""
            raise _Unusable(f"its path {path} is not relative with / between folders{cure}")
        steps = _steps(path)
        if not steps:
            raise _Unusable(f"its path {path!r} leads out of the folder that paths begin in")
        suffix = "" if steps.endswith(self._suffix) else self._suffix
        return f"{self._base}/{steps}{suffix}" if self._base else f"{steps}{suffix}"

    def _entry(self, row: _Row) -> Entry:
        if self._embedded is not None:
            return Entry(row.name, self._embedded.sizes[row.number], assignment=row.assignment)
        found = self._known.get(row.name)
        if found is None:
            parts = row.name.split("/")
            above = (self._known.get("/".join(parts[:depth])) for depth in range(1, len(parts)))
            fault = next(
                (
                    (each.rejection[0], "a folder in its path is a link")
                    for each in above
                    if each and each.rejection
                ),
                ("absent", f"there is no such file{self._near.hint(row.name)}"),
            )
        elif found.rejection is None:
            return Entry(row.name, found.size, assignment=row.assignment, file=found.file)
        else:
            fault = found.rejection
        return Entry(row.name, 0, (fault[0], f"row {row.number}: {fault[1]}"))

    def _fetch(self, params: DownloadParams, policy: RetryPolicy | None) -> dict[str, Path]:
        """Download the rows with an address, and turn each into an entry."""
        remote = {row.address: row for row in self._rows.values() if row.address is not None}
        if not remote:
            return {}
        loose = sum(not address.sha256 for address in remote)
        if loose:
            print(
                f"Addresses without a sha256: {loose:,} of {len(remote):,}. Their servers may send "
                "another file tomorrow. `download.sha256_column` pins the content.",
                flush=True,
            )
        fetched = {}
        limits = params.max_image_bytes, params.max_total_bytes
        for address, got in fetch_images(list(remote), *limits, policy).items():
            row = remote[address]
            if isinstance(got, Path):
                fetched[row.name] = got
                self.entries.append(Entry(row.name, got.stat().st_size, None, row.assignment))
            else:
                fault = (got.reason, f"row {row.number}: {got.detail}")
                self.entries.append(Entry(row.name, 0, fault))
        return fetched

    def _described(self, columns: Mapping[str, str]) -> str:
        """Return rows and classes in a sentence, with their columns."""
        assignments = [row.assignment for row in self._rows.values()]
        labels = sorted({each.label for each in assignments})
        said = f"Read {counted(len(self.entries), 'row')} of {self._table}: "
        said += f"{counted(len(labels), 'class', 'classes')} "
        said += f"({listed(labels) or 'none'}) from the column {columns['label']!r}"
        if "split" in columns:
            splits = Counter(each.predefined_split or "no split" for each in assignments)
            counts = ", ".join(f"{count:,} {name}" for name, count in sorted(splits.items()))
            said += f"; from {columns['split']!r}: {counts}"
        if "group" in columns:
            groups = {each.group for each in assignments if each.group}
            said += f"; {counted(len(groups), 'group')} from {columns['group']!r}"
        return f"{said}.{spelling_note(self._spellings)}"


class NearPaths:
    """The files of a folder, to look up what a row may have meant.

    Parameters
    ----------
    paths : iterable of str
    base : str
        Folder from which the paths of the table start.
    """

    def __init__(self, paths: Iterable[str], base: str) -> None:
        self._base = base
        self._by_name: defaultdict[str, list[str]] = defaultdict(list)
        for path in sorted(paths):
            name = path.rpartition("/")[2].lower()
            for key in {name, name.rpartition(".")[0]} - {""}:
                self._by_name[key].append(path)

    def hint(self, path: str) -> str:
        """Return how the nearest file differs and what to do; "" if none is near."""
        prefix = f"{self._base}/" if self._base else ""
        given = path.removeprefix(prefix)
        for found in self._by_name.get(given.rpartition("/")[2].lower(), ()):
            end = found.rpartition("/")[2]
            suffix = "" if given.lower().endswith(end.lower()) else f".{end.rpartition('.')[2]}"
            wanted = f"{given}{suffix}"
            if not f"/{found}".lower().endswith(f"/{wanted}".lower()):
                continue
            root = found[: -len(wanted)].rstrip("/")
            cures = [f"`download.path_suffix: {suffix}`"] * bool(suffix)
            cures += [f"`download.root: {root or '.'}`"] * (root != self._base)
            cure = f", but {found}"
            if not found.endswith(wanted):
                cure += ", whose letters differ in case: correct the table"
            return f"{cure}: set {' and '.join(cures)}" if cures else cure
        return ""


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
        raise _Unusable(
            f"its address {without_credentials(url)!r} does not begin with http:// or https://"
        )
    if sha256 and not _SHA256.fullmatch(sha256):
        raise _Unusable(f"its sha256 is {shown(sha256)!r}, not 64 hexadecimal digits")
    return Address(url, sha256)
