"""Class names that look alike or stand for a missing label: often one class by mistake."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping

from headstart._utils.tables import counted, listed, plain
from headstart.sources.source import label_of

# What tables hold where there is no label, in lower case.
_MISSING = {"nan", "none", "null", "nil", "na", "n/a", "#n/a", "<na>", "nat", "undefined", "?", "-"}


def spelling_note(names: Iterable[str]) -> str:
    """Return a sentence about names that were not taken as they stand; "" if all were.

    Parameters
    ----------
    names : iterable of str
        Names of classes as the source spells them; each has a label (:func:`label_of`).
    """
    spellings: defaultdict[str, set[str]] = defaultdict(set)
    for name in names:
        spellings[label_of(name)].add(name)
    changed = {
        label: spelled
        for label, spelled in sorted(spellings.items())
        if len(spelled) > 1 or any(name != name.strip() for name in spelled)
    }
    if not changed:
        return ""
    stated = [
        f"{' and '.join(ascii(name) for name in sorted(spelled))} as {plain(label)!r}"
        for label, spelled in changed.items()
    ]
    return (
        " White space at the ends of names is left out, and letters are composed: "
        f"{listed(stated)}."
    )


def look_alikes(counts: Mapping[str, int]) -> list[str]:
    """Return a sentence for each kind of doubt about the names of classes.

    Parameters
    ----------
    counts : mapping of str to int
        Class to its number of images.
    """
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for label in sorted(counts):
        alike[_seen(label)].append(label)
    groups = [labels for labels in alike.values() if len(labels) > 1]
    found = []
    if groups:
        pairs = [
            " and ".join(f"{_exact(each)} ({counted(counts[each], 'image')})" for each in labels)
            for labels in groups
        ]
        found.append(
            f"{counted(len(groups), 'group')} of class names look alike, and each name is a class "
            f"of its own: {listed(pairs)}. If they mean one class, give them one name in the "
            "source (rename the folder, or correct the table), and run again."
        )
    missing = [label for label in sorted(counts) if label.strip().casefold() in _MISSING]
    if missing:
        named = listed([f"{_exact(each)} ({counted(counts[each], 'image')})" for each in missing])
        found.append(
            f"Classes whose names may stand for a missing label: {named}. They are classes like "
            "any other. If these images have no label, remove them, or empty the cells: rows "
            "without a label are rejected and listed."
        )
    return found


def _seen(label: str) -> str:
    """Return what tells a name apart at a glance: no case, signs in between, or leading zeros."""
    folded = unicodedata.normalize("NFKC", label).casefold()
    visible = "".join(sign for sign in folded if unicodedata.category(sign) != "Cf")
    spaced = " ".join(re.split(r"[\s_-]+", visible)).strip()
    return re.sub(r"(?<!\d)0+(?=\d)", "", spaced)


def _exact(label: str) -> str:
    """Return a label in quotes, with signs that cannot be seen or told apart as escapes."""
    return repr(label) if label.isprintable() and label.isascii() else ascii(label)
