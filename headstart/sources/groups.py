"""Groups by paths: images of one clip, patient or camera, which must share a split.

Split between train and test, they let the model recognize the object instead of the class, and the
scores are too high.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from headstart._utils.errors import SourceError
from headstart._utils.tables import counted, listed, plain

#: The value of ``download.group`` that takes the folder below a class; others are patterns.
FOLDER = "folder"
#: Captures the name of a file without its last number, as of the frames of a clip. Notes name it.
SERIES = r"([^/]*[^/0-9])[0-9]+[.][^./]+$"
_LONG = 3  # images from which on equal names with numbers are a series


def group_of(rule: str, path: str, inside: str) -> str:
    """Return the group of an image; "" if it is in none.

    Parameters
    ----------
    rule : str
        ``folder`` (the folder directly below the class), or a pattern with one group, which is
        searched in the path.
    path : str
        In the source.
    inside : str
        The part of it below the class folder.
    """
    if rule == FOLDER:
        return inside.partition("/")[0] if "/" in inside else ""
    found = re.search(rule, path)
    return (found[1] or "") if found else ""


def described(rule: str, groups: Mapping[str, str]) -> str:
    """Return the groups in a sentence.

    Parameters
    ----------
    rule : str
        As in :func:`group_of`.
    groups : mapping of str to str
        Path of each image to its group.

    Raises
    ------
    SourceError
        If no image is in a group.
    """
    alone = sorted(path for path, group in groups.items() if not group)
    if len(alone) == len(groups):
        kind = "no image lies in a folder below its class" if rule == FOLDER else "it matches none"
        raise SourceError(
            f"`download.group` is {rule!r}, but {kind}. An image: {listed(alone, 1)}. Nothing was "
            "written. Correct it, or set it to null."
        )
    names = sorted(set(groups.values()) - {""})
    left = f"; {counted(len(alone), 'image')} in none, as {plain(alone[0])}" if alone else ""
    return (
        f"{counted(len(names), 'group')} by `download.group` ({listed(names)}){left}. Images of a "
        "group share a split."
    )


def note(files: Iterable[tuple[str, str, str]]) -> str:
    """Return a note if images look like parts of clips or series; "" if they do not.

    Parameters
    ----------
    files : iterable of (label, path, part of the path below the class folder)
    """
    folders: defaultdict[str, Counter[str]] = defaultdict(Counter)
    series: defaultdict[str, Counter[str]] = defaultdict(Counter)
    count = 0
    for label, path, inside in files:
        count += 1
        folders[label][group_of(FOLDER, path, inside)] += 1
        series[label][group_of(SERIES, path, inside)] += 1
    for rule, found, kind in (
        (FOLDER, folders, "lie in folders below their classes"),
        (SERIES, series, "have names in numbered series"),
    ):
        named = {
            label: sorted(name for name, size in of.items() if name and size >= _LONG)
            for label, of in found.items()
        }
        inside_any = sum(found[label][name] for label, names in named.items() for name in names)
        several = [label for label, names in named.items() if len(names) > 1]
        if several and 2 * inside_any >= count:
            label = min(several)
            value = rule if rule == FOLDER else f"'{rule}'"
            return (
                f"Note: {inside_any:,} of {count:,} images {kind} (as {listed(named[label], 3)} of "
                f"{plain(label)}). If the images of one show the same object (a clip, a patient, a "
                f"camera), set `download.group: {value}`, so that they share a split; otherwise "
                "the scores are too high."
            )
    return ""
