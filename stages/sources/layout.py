"""Which folder holds the classes, and is the source divided into splits already?

Recognized are class folders (``Cat/1.jpg``) and split folders over class folders
(``train/Cat/1.jpg``), below any chain of single folders (``PetImages/Cat/1.jpg``). A file's class
is the folder's name, in Unicode's composed form; files deeper inside belong to the same class.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stages.core.errors import SourceError
from stages.sources.entries import name_fault

#: Names of split folders, in lower case, and the split that they mean.
SPLIT_NAMES: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}

_SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini"}
# A folder with nothing but these is no class. They decide which folders count, never which file
# is a picture: that is told by content.
_DOCUMENTS = {
    "bib", "cfg", "csv", "db", "doc", "docx", "h5", "htm", "html", "ini", "ipynb", "json",
    "license", "log", "m", "mat", "md", "npy", "npz", "pdf", "py", "rst", "sh", "tsv", "txt",
    "xls", "xlsx", "xml", "yaml", "yml",
}  # fmt: skip
_EXPECTED = (
    "Expected one folder a class with pictures in it (cat/1.jpg, dog/1.jpg), or train, validation "
    "and test folders over class folders (train/cat/1.jpg), in either case below any single folder."
)


@dataclass(frozen=True)
class Place:
    """What a file's path says: its class, and its split or ""."""

    label: str
    given_split: str


@dataclass(frozen=True)
class Layout:
    """A recognized arrangement of folders.

    Parameters
    ----------
    root : str
        Folder that holds the classes or the splits; "" for the source itself.
    splits : mapping of str to str
        Split folder to split; empty if the source is not divided.
    classes : frozenset of str
        Names of class folders, as they stand in the source.
    """

    root: str
    splits: Mapping[str, str]
    classes: frozenset[str]

    def place(self, path: str) -> Place | tuple[str, str]:
        """The class and split of a file, or reason and detail why it has none."""
        prefix = f"{self.root}/" if self.root else ""
        if not path.startswith(prefix):
            return "no_class", f"it stands outside of {self.root}/, which holds the classes"
        parts = path.removeprefix(prefix).split("/")
        split = ""
        if self.splits:
            if parts[0] not in self.splits or len(parts) == 1:
                return "no_class", f"it stands in none of {', '.join(sorted(self.splits))}"
            split = self.splits[parts.pop(0)]
        if len(parts) == 1:
            return "no_class", "it stands in no class folder"
        if parts[0] not in self.classes:
            return "no_class", f"the folder {parts[0]} holds no picture"
        return Place(label_of(parts[0]), split)

    def describe(self) -> str:
        """One sentence for the terminal."""
        where = f"in {self.root}/" if self.root else "at the top"
        labels = sorted({label_of(name) for name in self.classes})
        named = ", ".join(labels[:8]) + (", …" if len(labels) > 8 else "")
        if not self.splits:
            return f"Recognized class folders {where}: {len(labels)} classes ({named})."
        parts = ", ".join(
            folder if folder == split else f"{folder} as {split}"
            for folder, split in sorted(self.splits.items())
        )
        return f"Recognized splits {where} ({parts}) over {len(labels)} classes ({named})."


def unwanted(path: str) -> tuple[str, str] | None:
    """Reason and detail for files that systems leave behind; None for all others."""
    parts = path.split("/")
    for part in parts:
        if part.startswith(".") or part == "__MACOSX":
            return "hidden", f"{part} is hidden"
    if parts[-1].lower() in _SYSTEM_FILES:
        return "not_a_picture", f"{parts[-1]} is a file of the operating system"
    return None


def label_of(folder: str) -> str:
    """The class that a folder's name says, in Unicode's composed form (NFC).

    Raises
    ------
    SourceError
        If the name cannot be the name of a folder everywhere, as the sample's folders need.
    """
    label = unicodedata.normalize("NFC", folder)
    fault = name_fault(label)
    if not label.strip() or label in {".", ".."} or "/" in label or "\\" in label:
        fault = "it is no name of a folder"
    elif len(label.encode("utf-8", "replace")) > 255:
        fault = "it is longer than 255 bytes"
    if fault:
        raise SourceError(
            f"{folder!r} cannot be the name of a class: {fault}. Nothing was written. "
            "Rename the folder and run again."
        )
    return label


def recognize(paths: Iterable[str], root: str | None, origin: str) -> Layout:
    """Find the folder that holds the classes.

    Parameters
    ----------
    paths : iterable of str
        Files that may be pictures.
    root : str, optional
        The folder, if the user named it; its splits are still recognized.
    origin : str
        The source in words.

    Raises
    ------
    SourceError
        If there are fewer than two classes, or ``root`` is not there.
    """
    tree = _Tree(paths)
    if root is not None:
        node = "/".join(part for part in root.split("/") if part not in {"", "."})
        if node and node not in tree.folders:
            raise SourceError(
                f"`download.root` is {root!r}, but {origin} holds no such folder with pictures. "
                f"{tree.found('')} Nothing was written. Correct it, or set it to null."
            )
        return _layout(tree, node, origin)
    node = ""
    while not _splits(tree, node):
        below = tree.folders[node]
        if len(below) != 1:
            break
        child = tree.join(node, next(iter(below)))
        if not tree.folders[child]:
            break
        node = child
    return _layout(tree, node, origin)


class _Tree:
    """Folders that hold possible pictures, each with the names of such folders in it."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.folders: defaultdict[str, set[str]] = defaultdict(set)
        self.files: Counter[str] = Counter()
        for path in paths:
            folder, _, name = path.rpartition("/")
            if name.rpartition(".")[2].lower() in _DOCUMENTS:
                continue
            self.files[folder] += 1
            while folder:
                parent, _, last = folder.rpartition("/")
                known = last in self.folders[parent]
                self.folders[parent].add(last)
                if known:
                    break
                folder = parent
        for folder in list(self.files):
            self.folders.setdefault(folder, set())  # a folder without folders is one, too

    @staticmethod
    def join(node: str, name: str) -> str:
        return f"{node}/{name}" if node else name

    def found(self, node: str) -> str:
        """What stands in a folder, in one sentence."""
        where = f"{node}/" if node else "the top"
        names = sorted(self.folders[node])
        loose = self.files[node]
        if not names:
            return f"Found no folder with pictures at {where}, and {loose:,} files beside."
        listed = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        return f"Found at {where}: {len(names):,} folders ({listed}) and {loose:,} files beside."


def _splits(tree: _Tree, node: str) -> dict[str, str]:
    """Split folders directly in ``node`` that hold folders themselves; {} if it is not divided."""
    named = {
        name: SPLIT_NAMES[name.lower()]
        for name in tree.folders[node]
        if name.lower() in SPLIT_NAMES and tree.folders[tree.join(node, name)]
    }
    # A class may well be called "test", and a lone folder of that name divides nothing: a division
    # has a part to train on, or consists of several such folders and nothing else.
    if "train" in named.values() or (len(named) > 1 and len(named) == len(tree.folders[node])):
        return named
    return {}


def _layout(tree: _Tree, node: str, origin: str) -> Layout:
    splits = _splits(tree, node)
    if splits:
        classes = {name for split in splits for name in tree.folders[tree.join(node, split)]}
    else:
        classes = set(tree.folders[node])
        if classes and all(name.lower() in SPLIT_NAMES for name in classes):
            raise SourceError(
                f"{origin} is divided into {', '.join(sorted(classes))}, but the pictures lie in "
                f"them without class folders, so nothing says what they show. {_EXPECTED} "
                "Nothing was written."
            )
    if len({label_of(name) for name in classes}) < 2:
        raise SourceError(
            f"{origin} holds fewer than two classes. {tree.found(node)} {_EXPECTED} Nothing was "
            "written. If another folder holds the classes, name it in `download.root`."
        )
    return Layout(node, splits, frozenset(classes))
