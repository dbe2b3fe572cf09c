"""Recognize which folders are classes, and which are predefined splits.

The layouts are class folders (``Cat/1.jpg``) and split folders over class folders
(``train/Cat/1.jpg``), below any chain of single folders (``PetImages/Cat/1.jpg``; also inside of
each split: ``seg_train/seg_train/street/1.jpg``). A file's class is the folder's name, in Unicode's
composed form; files deeper inside belong to the same class. The layout is printed;
``download.root`` and ``download.splits`` override it. Where two readings are equally likely, the
run stops and asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from headstart._utils.errors import SourceError
from headstart._utils.tables import listed
from headstart.sources.class_names import spelling_note
from headstart.sources.doubts import (
    as_yaml,
    refuse_bare_splits,
    refuse_descriptions,
    refuse_repeated,
    refuse_splits_in_names,
    refuse_two_words,
    several_divisions,
)
from headstart.sources.folder_names import split_of, splits_with_affix
from headstart.sources.source import Assignment, label_of
from headstart.sources.tree import Tree

_EXPECTED = (
    "Expected one folder per class with images in it (cat/1.jpg, dog/1.jpg), or train, validation "
    "and test folders over class folders (train/cat/1.jpg), in either case below any single folder."
)


@dataclass(frozen=True)
class Layout:
    """A recognized layout of folders.

    Parameters
    ----------
    root : str
        Folder that holds the classes or the splits; "" for the source itself.
    splits : mapping of str to str
        Folder below the root that holds a split's classes, to the split; empty if the source is
        not divided.
    classes : frozenset of str
        Names of class folders, as the source spells them.
    beside : tuple of str
        Folders with images that belong to no split.
    """

    root: str
    splits: Mapping[str, str]
    classes: frozenset[str]
    beside: tuple[str, ...] = ()

    def inside(self, path: str) -> str:
        """Return the part of a path below the class folder; only for a file that has a class."""
        folder = next((name for name in self.splits if f"{path}/".startswith(self._at(name))), "")
        return path.removeprefix(self._at(folder)).partition("/")[2]

    def _at(self, folder: str) -> str:
        """Return the start of the paths in a folder below the root."""
        return "".join(f"{part}/" for part in (self.root, folder) if part)

    def assign(self, path: str) -> Assignment | tuple[str, str]:
        """Return class and split of a file, or reason and detail why it has none."""
        prefix = f"{self.root}/" if self.root else ""
        if not path.startswith(prefix):
            return "no_class", f"it is outside of {self.root}/, which holds the classes"
        inside = path.removeprefix(prefix)
        split = ""
        if self.splits:
            folder = next((name for name in self.splits if inside.startswith(f"{name}/")), None)
            if folder is None:
                return "no_class", f"it is in none of {', '.join(sorted(self.splits))}"
            split, inside = self.splits[folder], inside.removeprefix(f"{folder}/")
        name, _, rest = inside.partition("/")
        if not rest:
            return "no_class", "it is in no class folder"
        if name not in self.classes:
            return "no_class", f"the folder {name} holds no image"
        return _assignment(name, split)

    def describe(self) -> str:
        """Return a sentence about the layout, and how to override it."""
        where = f"in {self.root}/" if self.root else "at the top"
        labels = sorted({label_of(name) for name in self.classes})
        note = spelling_note(self.classes)
        if not self.splits:
            return (
                f"Recognized class folders {where}: {len(labels)} classes ({listed(labels)}). "
                f"(`download.root` names another folder.){note}"
            )
        parts = ", ".join(
            folder if folder == split else f"{folder} as {split}"
            for folder, split in sorted(self.splits.items())
        )
        left = f" Left out: {', '.join(self.beside)}." if self.beside else ""
        return (
            f"Recognized splits {where} ({parts}) over {len(labels)} classes "
            f"({listed(labels)}).{left} (`download.root` and `download.splits` override this.)"
            f"{note}"
        )


@lru_cache(maxsize=4096)
def _assignment(name: str, split: str) -> Assignment:
    """Return the assignment of the files in a class folder: the same for all of them."""
    return Assignment(label_of(name), split)


def recognize(
    paths: Iterable[str],
    root: str | None,
    origin: str,
    splits: Mapping[str, str] | None = None,
) -> Layout:
    """Find the folder that holds the classes.

    Parameters
    ----------
    paths : iterable of str
        Candidate files.
    root : str, optional
        The folder, if the user named it; its splits are still recognized.
    origin : str
        The source in words.
    splits : mapping of str to str, optional
        Folder to split, if the user named them: relative to the root, or to the first folder
        that has them all. Empty: the source is not divided, whatever the names say.

    Raises
    ------
    SourceError
        If there are fewer than two classes, if a folder that the user named is absent, or if the
        classes may as well be splits, parts of the data, or annotations.
    """
    tree = Tree(paths)
    if root is not None:
        node = _steps(root)
        if node and node not in tree.folders:
            raise SourceError(
                f"`download.root` is {root!r}, but {origin} holds no such folder with images. "
                f"{tree.found('')} Nothing was written. Correct it, or set it to null."
            )
        chain = [node]
    else:
        chain = tree.chain("")
    if splits:
        return _named(tree, chain, {_steps(name): split for name, split in splits.items()}, origin)
    if splits is None:
        for node in chain:
            if found := _splits(tree, node, origin):
                layout = _layout(tree, node, _inner(tree, node, found), origin)
                _refuse_doubtful(tree, layout, origin)
                return layout
    layout = _layout(tree, chain[-1], {}, origin)
    if splits is None:
        _refuse_doubtful(tree, layout, origin)
    return layout


def _steps(path: str) -> str:
    return "/".join(part for part in path.split("/") if part not in {"", "."})


def _splits(tree: Tree, node: str, origin: str) -> dict[str, str]:
    """Return the split folders in ``node`` that hold folders; {} if it is not divided."""
    over = [name for name in sorted(tree.folders[node]) if tree.folders[tree.join(node, name)]]
    named = {name: split for name in over if (split := split_of(name))}
    if not named:
        several = [found for found in splits_with_affix(over) if "train" in found.values()]
        if len(several) > 1:
            raise several_divisions(origin, several)
        named = several[0] if several else {}
    # A class may well be called "test", and a lone folder of that name divides nothing: a division
    # has a part to train on, or consists of several such folders and nothing else.
    if "train" in named.values() or (len(named) > 1 and len(named) == len(tree.folders[node])):
        refuse_two_words(origin, named)
        return named
    return {}


def _inner(tree: Tree, node: str, splits: Mapping[str, str]) -> dict[str, str]:
    """Return the folders that hold the classes, which may lie below single folders."""
    deeper = {name: tree.chain(tree.join(node, name))[-1] for name in splits}
    if any(inner == tree.join(node, name) for name, inner in deeper.items()):
        return dict(splits)
    prefix = f"{node}/" if node else ""
    return {inner.removeprefix(prefix): splits[name] for name, inner in deeper.items()}


def _named(tree: Tree, chain: list[str], splits: Mapping[str, str], origin: str) -> Layout:
    """Return the layout that the user described."""
    for node in chain:
        if all(tree.folders.get(tree.join(node, name)) for name in splits):
            return _layout(tree, node, splits, origin)
    absent = [name for name in splits if not tree.folders.get(tree.join(chain[-1], name))]
    raise SourceError(
        f"`download.splits` names {', '.join(absent)}, but {origin} holds no such folder over "
        f"class folders. {tree.found(chain[-1])} Nothing was written. Write the names as they "
        "stand there, relative to `download.root`; or set it to null."
    )


def _layout(tree: Tree, node: str, splits: Mapping[str, str], origin: str) -> Layout:
    beside: tuple[str, ...] = ()
    if splits:
        classes = {name for split in splits for name in tree.folders[tree.join(node, split)]}
        tops = {name.partition("/")[0] for name in splits}
        beside = tuple(sorted(tree.folders[node] - tops))
    else:
        classes = set(tree.folders[node])
    if len({label_of(name) for name in classes}) < 2:
        below = tree.chain(node)[-1]
        deeper = f" (as in `download.root: {below}`)" if len(tree.folders[below]) > 1 else ""
        raise SourceError(
            f"{origin} holds fewer than two classes. {tree.found(node)} {_EXPECTED} Nothing was "
            f"written. If another folder holds the classes, name it in `download.root`{deeper}."
        )
    return Layout(node, splits, frozenset(classes), beside)


def _refuse_doubtful(tree: Tree, layout: Layout, origin: str) -> None:
    """Stop if the folders may as well be splits, parts of the data, or annotations.

    Only a recognized layout is doubted: with ``download.splits``, the user has decided.
    """
    confirmed = as_yaml(layout.splits)
    for part in sorted(layout.splits) or [""]:
        node = tree.join(layout.root, part)
        refuse_descriptions(tree, node, confirmed, origin)
        if not layout.splits:
            refuse_bare_splits(tree, node, origin)
            refuse_splits_in_names(tree, node, origin)
        refuse_repeated(tree, node, part, confirmed, origin)
