"""Class names that look alike or stand for a missing label, often by mistake."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping

from headstart._utils.tables import counted, listed, plain
from headstart.sources.parquet_file import NO_MULTI_LABEL
from headstart.sources.source import label_of

# What tables hold where there is no label, in lower case.
_MISSING = {"nan", "none", "null", "nil", "na", "n/a", "#n/a", "<na>", "nat", "undefined", "?", "-"}

#: Characters that programs write for letters that their encoding lacks.
_LOST = {"?", "\N{REPLACEMENT CHARACTER}"}
#: Cyrillic and Greek letters that most fonts draw as a Latin one, after case is folded.
_LATIN = str.maketrans(
    {
        "\N{CYRILLIC SMALL LETTER A}": "a", "\N{CYRILLIC SMALL LETTER IE}": "e",
        "\N{CYRILLIC SMALL LETTER BYELORUSSIAN-UKRAINIAN I}": "i",
        "\N{CYRILLIC SMALL LETTER JE}": "j", "\N{CYRILLIC SMALL LETTER KA}": "k",
        "\N{CYRILLIC SMALL LETTER O}": "o", "\N{CYRILLIC SMALL LETTER ER}": "p",
        "\N{CYRILLIC SMALL LETTER ES}": "c", "\N{CYRILLIC SMALL LETTER DZE}": "s",
        "\N{CYRILLIC SMALL LETTER U}": "y", "\N{CYRILLIC SMALL LETTER HA}": "x",
        "\N{CYRILLIC SMALL LETTER SHHA}": "h", "\N{CYRILLIC SMALL LETTER KOMI DE}": "d",
        "\N{GREEK SMALL LETTER ALPHA}": "a", "\N{GREEK SMALL LETTER IOTA}": "i",
        "\N{GREEK SMALL LETTER KAPPA}": "k", "\N{GREEK SMALL LETTER NU}": "v",
        "\N{GREEK SMALL LETTER OMICRON}": "o", "\N{GREEK SMALL LETTER RHO}": "p",
        "\N{GREEK SMALL LETTER UPSILON}": "u", "\N{GREEK SMALL LETTER CHI}": "x",
    }
)  # fmt: skip


def spelling_note(names: Iterable[str]) -> str:
    """Return a sentence about names that were changed; "" if none was.

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
    if lost := [label for label in sorted(counts) if label != "?" and _LOST & set(label)]:
        named = listed([f"{_exact(each)} ({counted(counts[each], 'image')})" for each in lost])
        found.append(
            f"Class names that may lack letters that a program could not write: {named}"
            ". Names that differed in such letters alone are one class now. Pack or copy the "
            "images again with a program that keeps the names."
        )
    if combined := combinations(counts):
        named = listed([_exact(each) for each in combined])
        found.append(
            f"{counted(len(combined), 'class name')} of {len(counts):,} may be several labels in "
            f"one ({named}). Each is a class of its own, apart from its parts. {NO_MULTI_LABEL}"
        )
    return found


def combinations(labels: Collection[str]) -> list[str]:
    """Return the labels that look like several in one: of other labels, of recurring parts, a list.

    ``cat|dog`` is one beside ``cat`` and ``dog``, or beside ``cat|bird``; ``guinea pig`` is not,
    as long as ``guinea`` and ``pig`` are not classes.
    """
    known = set(labels)
    found = {label for label in known if re.fullmatch(r"\[.*\]|\{.*\}", label)}
    for sign in ("|", ";", ",", "+", "&", " "):
        parts = {
            label: [part.strip() for part in label.split(sign)] for label in known if sign in label
        }
        uses = Counter(part for of in parts.values() for part in set(of))
        for label, of in parts.items():
            recurring = sign in "|;" and any(uses[part] > 1 for part in of)
            if recurring or (len(of) > 1 and all(part in known for part in of)):
                found.add(label)
    return sorted(found)


def _seen(label: str) -> str:
    """Return a name as seen at a glance.

    It has no case, separators or leading zeros; letters that look Latin are Latin.
    """
    folded = unicodedata.normalize("NFKC", label).casefold().translate(_LATIN)
    visible = "".join(sign for sign in folded if unicodedata.category(sign) != "Cf")
    spaced = " ".join(re.split(r"[\s_-]+", visible)).strip()
    return re.sub(r"(?<!\d)0+(?=\d)", "", spaced)


def _exact(label: str) -> str:
    """Return a label in quotes, with invisible and ambiguous characters as escapes."""
    return repr(label) if label.isprintable() and label.isascii() else ascii(label)
