"""Layouts that can be read in more than one way: the run stops, and says how to decide.

Every parameter that a message names is one that decides: the tests set it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from headstart._utils.errors import SourceError
from headstart._utils.tables import listed
from headstart.sources.folder_names import (
    descriptions,
    split_of,
    splits_with_affix,
    two_words_for_one_split,
)
from headstart.sources.tree import Tree

_NO_TEXTS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


class DoubtfulError(SourceError):
    """The folders of a source can be read in more than one way."""


def as_yaml(splits: Mapping[str, str]) -> str:
    """Return a value of ``download.splits`` as params.yaml spells it."""
    pairs = (f"{_yaml(name)}: {split}" for name, split in sorted(splits.items()))
    return "{" + ", ".join(pairs) + "}"


def _yaml(name: str) -> str:
    """Return a name as YAML spells a text: ``'2017'`` would be a number."""
    plain = re.fullmatch(r"[^\W\d][\w/. +-]*", name) and name.lower() not in _NO_TEXTS
    return name if plain else "'" + name.replace("'", "''") + "'"


def several_divisions(origin: str, several: Sequence[Mapping[str, str]]) -> DoubtfulError:
    """Return the error for folders such as ``a_train``, ``a_test``, ``b_train`` and ``b_test``."""
    names = sorted(name for found in several for name in found)
    cures = {f"`download.splits: {as_yaml(found)}`": "to use these folders" for found in several}
    return _doubtful(origin, f"the folders {listed(names)} divide it in several ways", cures)


def refuse_two_words(origin: str, splits: Mapping[str, str]) -> None:
    """Stop if two words mean one split: of ``val`` and ``eval``, one may be the test split."""
    if twice := two_words_for_one_split(splits):
        cure = f"`download.splits: {as_yaml(splits)}`"
        raise _doubtful(
            origin,
            f"{listed(twice)} would be one split, {splits[twice[0]]}",
            {cure: "to merge them; or name another split for one, or leave it out"},
        )


def refuse_descriptions(tree: Tree, node: str, confirmed: str, origin: str) -> None:
    """Stop if a folder among the classes holds annotations, by its name."""
    names = sorted(tree.folders[node])
    described = descriptions(names)
    if not described:
        return
    others = [tree.join(node, name) for name in names if name not in described]
    roots = [other for other in others if len(tree.folders[other]) > 1]
    cures = {f"`download.root: {_yaml(root)}`": "if it holds the class folders" for root in roots}
    if not roots:
        cures["`download.source: table`"] = "if a table states the class of each image"
    cures[f"`download.splits: {confirmed}`"] = f"if {listed(described)} holds images of a class"
    raise _doubtful(
        origin,
        f"among the class folders {listed(names)}, {listed(described)} may hold annotations or "
        "masks, which are not classes",
        cures,
    )


def refuse_bare_splits(tree: Tree, node: str, origin: str) -> None:
    """Stop if split folders would be classes, since they hold images and no class folders."""
    names = sorted(tree.folders[node])
    splits = [split_of(name) for name in names]
    if all(splits) or len({*splits} - {None}) > 1:
        raise _doubtful(
            origin,
            f"{listed(names)} are names of splits, and hold images without class folders, so that "
            "the classes are unknown. Expected one folder per class in each (train/cat/1.jpg)",
            {
                "`download.source: table`": "if a table states the class of each image",
                "`download.splits: {}`": "if these folders are the classes",
            },
        )


def refuse_splits_in_names(tree: Tree, node: str, origin: str) -> None:
    """Stop if class folders differ in the name of a split alone: ``cat_train``, ``cat_test``."""
    if several := splits_with_affix(tree.folders[node]):
        names = sorted(name for found in several for name in found)
        raise _doubtful(
            origin,
            f"the class folders {listed(names)} differ in the name of a split, so that a model "
            "would learn to tell the splits apart",
            {
                "`download.splits: {}`": "if they are the classes; else move the images to "
                "train/CLASS and test/CLASS"
            },
        )


def refuse_repeated(tree: Tree, node: str, part: str, confirmed: str, origin: str) -> None:
    """Stop if all class folders hold the same folders, which then may be the classes.

    Parameters
    ----------
    tree : Tree
    node : str
        Folder that holds the classes.
    part : str
        Its path from the root of the layout: how ``download.splits`` names it.
    confirmed : str
        The value of ``download.splits`` that takes the folders as classes.
    origin : str
    """
    names = sorted(tree.folders[node])
    if len(names) < 2:
        return
    inside = [tree.folders[tree.join(node, name)] for name in names]
    common, union = set.intersection(*inside), set.union(*inside)
    if len(common) < 2 or 2 * len(common) < len(union):
        return
    first = {tree.join(part, names[0]): "train", tree.join(part, names[1]): "test"}
    raise _doubtful(
        origin,
        f"the folders {listed(names)} all hold the same folders ({listed(sorted(common))}), so "
        "either may be the classes",
        {
            f"`download.splits: {as_yaml(first)}`": "if the inner folders are the classes, and "
            "the outer ones divide them, in this or another way",
            f"`download.root: {_yaml(tree.join(node, names[0]))}`": "if one outer folder holds the "
            "classes",
            f"`download.splits: {confirmed}`": f"if {listed(names)} are the classes",
        },
    )


def _doubtful(origin: str, fault: str, cures: Mapping[str, str]) -> DoubtfulError:
    lines = "\n".join(f"  {value}  {effect}" for value, effect in cures.items())
    return DoubtfulError(
        f"{origin} can be read in more than one way: {fault}. Nothing was written. Say in "
        f"params.yaml what is meant:\n{lines}"
    )
