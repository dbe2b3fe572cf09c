"""Assign the files of a source to classes and splits, by its listing alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from headstart._utils.errors import SourceError
from headstart.sources import groups
from headstart.sources.doubts import DoubtfulError
from headstart.sources.folder_names import unwanted
from headstart.sources.ingested import UnusableError
from headstart.sources.layout import Layout, recognize
from headstart.sources.parameters import DownloadParams
from headstart.sources.source import Assignment, Entry, Source

Rejected = tuple[str, str, str]  # path, reason and detail


@dataclass(frozen=True)
class Assigned:
    """The files of a source: those to read, and those that are rejected unread.

    Attributes
    ----------
    wanted : mapping of str to Assignment
        By path.
    rejected : tuple of (path, reason, detail)
    bytes : int
        Sum of the sizes of ``wanted``, as the source declares them.
    notes : tuple of str
        The recognized layout and groups, as sentences for people.
    """

    wanted: Mapping[str, Assignment]
    rejected: tuple[Rejected, ...]
    bytes: int
    notes: tuple[str, ...]


def assign(source: Source, params: DownloadParams) -> Assigned:
    """Assign every file to a class and a split, or reject it. Nothing is read but the listing.

    Parameters
    ----------
    source : Source
    params : DownloadParams
        Root, splits, groups and the largest file.

    Raises
    ------
    SourceError
        If the layout is not recognized; :class:`UnusableError` if files were rejected, too.
    """
    rejected: list[Rejected] = []
    candidates = []
    for entry in source.entries:
        if fault := entry.rejection or unwanted(entry.path):
            rejected.append((entry.path, *fault))
        else:
            candidates.append(entry)
    layout = _layout(source, candidates, rejected, params)
    notes = [layout.describe() if layout else source.summary]
    wanted: dict[str, Assignment] = {}
    shared: dict[Assignment, Assignment] = {}  # one object for all files of a class
    total = 0
    for entry in candidates:
        assignment = layout.assign(entry.path) if layout else entry.assignment
        if not isinstance(assignment, Assignment):
            rejected.append((entry.path, *(assignment or ("no_class", "its source states none"))))
        elif entry.size > params.max_image_bytes:
            detail = f"{entry.size:,} bytes; at most {params.max_image_bytes:,} are accepted"
            rejected.append((entry.path, "too_large", detail))
        else:
            wanted[entry.path] = shared.setdefault(assignment, assignment)
            total += entry.size
    if layout:
        grouped, note = _grouped(wanted, layout, params.group)
        notes += [note] if note else []
    else:
        grouped = wanted
    return Assigned(grouped, tuple(rejected), total, tuple(notes))


def _layout(
    source: Source,
    candidates: Sequence[Entry],
    rejected: Sequence[Rejected],
    params: DownloadParams,
) -> Layout | None:
    """Return the layout of a source whose folders decide."""
    if source.summary:
        return None
    paths = (entry.path for entry in candidates)
    try:
        return recognize(paths, params.root, source.origin, params.splits)
    except DoubtfulError:
        raise  # the files that were rejected are not the reason
    except SourceError as error:
        if not rejected:
            raise
        raise UnusableError(str(error), rejected) from error


def _grouped(
    wanted: Mapping[str, Assignment], layout: Layout, rule: str | None
) -> tuple[Mapping[str, Assignment], str]:
    """Return the assignments with their groups, and a sentence on these or on likely ones."""
    if rule is None:
        files = ((wanted[path].label, path, layout.inside(path)) for path in wanted)
        return wanted, groups.note(files)
    inside = {path: layout.inside(path) for path in wanted}
    found = {path: groups.group_of(rule, path, inside[path]) for path in wanted}
    grouped = {path: replace(each, group=found[path]) for path, each in wanted.items()}
    return grouped, groups.described(rule, found)
