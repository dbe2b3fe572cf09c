"""Folders that can be read in more than one way: no model learns splits or masks as classes."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
from ruamel.yaml import YAML

from headstart._utils.errors import SourceError
from headstart.sources.layout import Layout, recognize
from headstart.sources.source import Assignment


def paths_of(*folders: str) -> list[str]:
    return [f"{folder}/{number}.jpg" for folder in folders for number in range(3)]


def refused(paths: Iterable[str], root: str | None = None) -> tuple[str, list[Layout]]:
    """Return the message, and the layout that each parameter in it leads to."""
    listed = list(paths)
    with pytest.raises(SourceError) as caught:
        recognize(listed, root, "The folder x")
    said = str(caught.value)
    found = []
    for line in re.findall(r"`download\.((?:root|splits): .*?)`  ", said):
        value = YAML(typ="safe").load(line)
        found.append(
            recognize(listed, value.get("root", root), "The folder x", value.get("splits"))
        )
    assert found
    return said, found


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (["train2017", "val2017"], {"train2017": "train", "val2017": "validation"}),
        (["Train_2", "TestSet-2"], {"Train_2": "train", "TestSet-2": "test"}),
        (["trainset", "evalset"], {"trainset": "train", "evalset": "validation"}),
        (["train_64x64", "test_64x64"], {"train_64x64": "train", "test_64x64": "test"}),
        (["v2.1-train", "v2.1-dev"], {"v2.1-train": "train", "v2.1-dev": "validation"}),
        (["pets_train", "pets_val"], {"pets_train": "train", "pets_val": "validation"}),
        (["ILSVRC2012_train", "ILSVRC2012_val"],
         {"ILSVRC2012_train": "train", "ILSVRC2012_val": "validation"}),
        (["train_final", "eval_final"], {"train_final": "train", "eval_final": "validation"}),
    ],
)  # fmt: skip
def test_splits_by_any_affix(folders: list[str], splits: dict[str, str]) -> None:
    paths = paths_of(*(f"{folder}/{kind}" for folder in folders for kind in ("cat", "dog")))
    layout = recognize(paths, None, "x")
    assert layout.splits == splits
    first = next(iter(splits))
    assert layout.assign(f"{first}/cat/0.jpg") == Assignment("cat", splits[first])


def test_one_name_with_an_affix_divides_nothing() -> None:
    paths = paths_of("bullet_train/a", "bullet_train/b", "tram/c", "bus/d")
    assert recognize(paths, None, "x").classes == {"bullet_train", "tram", "bus"}


def test_several_divisions_are_asked_about() -> None:
    folders = [f"fold{n}_{part}" for n in (1, 2) for part in ("train", "test")]
    said, layouts = refused(paths_of(*(f"{f}/{kind}" for f in folders for kind in ("cat", "dog"))))
    assert "divide it in several ways" in said
    assert [set(layout.splits) for layout in layouts] == [set(folders[:2]), set(folders[2:])]


def test_two_words_for_one_split_are_asked_about() -> None:
    folders = ("train", "val", "eval")
    said, (layout,) = refused(paths_of(*(f"{f}/{kind}" for f in folders for kind in "ab")))
    assert "eval, val would be one split, validation" in said
    assert layout.splits == {"train": "train", "val": "validation", "eval": "validation"}


@pytest.mark.parametrize(
    "folders",
    [("train2017", "val2017"), ("train", "test", "sample"), ("trainA", "testA", "trainB", "testB"),
     ("cat_train", "cat_test", "dog_train", "dog_test")],
)  # fmt: skip
def test_class_folders_with_names_of_splits(folders: tuple[str, ...]) -> None:
    said, (layout,) = refused(paths_of(*folders))
    assert "split" in said
    assert layout.classes == set(folders)


def test_classes_that_are_called_like_splits_of_others_are_classes() -> None:
    paths = paths_of("train_station", "test_tube", "steam_train")
    assert len(recognize(paths, None, "x").classes) == 3


@pytest.mark.parametrize("outer", [("camera1", "camera2"), ("2017", "2018", "2019")])
@pytest.mark.parametrize("above", ["", "train/"])
def test_folders_that_all_hold_the_same_folders(outer: tuple[str, ...], above: str) -> None:
    inner = [f"{above}{camera}/{kind}" for camera in outer for kind in ("cat", "dog")]
    beside = paths_of("test/cat", "test/dog") if above else []
    said, (split, root, same) = refused([*paths_of(*inner), *beside], None)
    assert "all hold the same folders (cat, dog)" in said
    assert split.classes == root.classes == {"cat", "dog"}
    assert set(split.splits.values()) == {"train", "test"}
    assert same.classes >= set(outer)


def test_one_folder_less_is_the_same_and_one_in_each_is_not() -> None:
    said, _ = refused(paths_of("a/x", "a/y", "a/z", "b/x", "b/y"))
    assert "(x, y)" in said
    assert recognize(paths_of("n1/images", "n2/images"), None, "x").classes == {"n1", "n2"}
    assert recognize(paths_of("a/x", "a/y", "b/z", "b/w"), None, "x").classes == {"a", "b"}


@pytest.mark.parametrize(
    ("folders", "described"),
    [
        (["images", "annotations/trimaps"], "annotations"),
        (["JPEGImages", "SegmentationClass", "SegmentationObject"], "SegmentationClass"),
        (["image", "mask"], "mask"),
        (["img", "GroundTruth"], "GroundTruth"),
        (["cat", "dog", "annotations"], "annotations"),
        (["train/images", "train/labels", "test/images", "test/labels"], "labels"),
    ],
)
def test_annotations_are_no_classes(folders: list[str], described: str) -> None:
    said, layouts = refused(paths_of(*folders))
    assert f"{described}" in said
    assert "may hold annotations or masks, which are not classes" in said
    assert "`download.source: table`" in said
    assert described in layouts[-1].classes


def test_the_folder_with_the_classes_is_named() -> None:
    said, layouts = refused(["Annotation/pug/p_1", "Annotation/boxer/b_1",
                             *paths_of("Images/pug", "Images/boxer")])  # fmt: skip
    assert "`download.root: Images`" in said
    assert layouts[0].assign("Images/pug/0.jpg") == Assignment("pug", "")


@pytest.mark.parametrize(
    "folders",
    [("mask", "no_mask"), ("with_mask", "without_mask"), ("masks", "gloves"), ("boxes", "bags"),
     ("class-0", "class-1"), ("class_1", "class_2", "class_10"), ("Object 1", "Object 2")],
)  # fmt: skip
def test_things_that_are_called_like_annotations_are_classes(folders: tuple[str, ...]) -> None:
    assert recognize(paths_of(*folders), None, "x").classes == set(folders)
