from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart._utils.errors import SourceError
from headstart.sources.folder_names import split_of, unwanted
from headstart.sources.layout import recognize
from headstart.sources.source import Assignment, label_of

CASES: dict[str, tuple[list[str], str, dict[str, tuple[str, str]]]] = {
    "class folders at the top": (
        ["cat/1.jpg", "dog/1.jpg", "README.md"],
        "",
        {"cat/1.jpg": ("cat", ""), "dog/1.jpg": ("dog", "")},
    ),
    "below single folders": (
        ["a/PetImages/Cat/1.jpg", "a/PetImages/Dog/1.jpg", "a/license.txt"],
        "a/PetImages",
        {"a/PetImages/Cat/1.jpg": ("Cat", "")},
    ),
    "divided": (
        ["x/train/alien/1.jpg", "x/train/predator/1.jpg", "x/validation/alien/2.jpg"],
        "x",
        {"x/train/alien/1.jpg": ("alien", "train"),
         "x/validation/alien/2.jpg": ("alien", "validation")},
    ),
    "other names of splits": (
        ["F/Training/A/1.jpg", "F/Training/B/1.jpg", "F/Test/A/2.jpg", "F/val/A/3.jpg",
         "F/papers/mureșan.pdf", "F/loose/1.jpg"],
        "F",
        {"F/Training/B/1.jpg": ("B", "train"), "F/Test/A/2.jpg": ("A", "test"),
         "F/val/A/3.jpg": ("A", "validation")},
    ),
    "only a part to train on": (
        ["t/train/n1/1.webp", "t/train/n2/1.webp", "t/words.txt"],
        "t",
        {"t/train/n1/1.webp": ("n1", "train")},
    ),
    "a test part without classes": (
        ["train/cat/1.jpg", "train/dog/1.jpg", "test/1.jpg"],
        "",
        {"train/cat/1.jpg": ("cat", "train")},
    ),
    "a lone folder called test divides nothing": (
        ["test/cat/1.jpg", "test/dog/1.jpg"],
        "test",
        {"test/cat/1.jpg": ("cat", "")},
    ),
    "a class called test": (
        ["test/1.jpg", "control/1.jpg"],
        "",
        {"test/1.jpg": ("test", "")},
    ),
    "folders inside of a class": (
        ["cat/persian/1.jpg", "cat/1.jpg", "dog/1.jpg"],
        "",
        {"cat/persian/1.jpg": ("cat", "")},
    ),
    "folders of documents are no classes": (
        ["cat/1.jpg", "dog/1.jpg", "annotations/1.xml"],
        "",
        {"cat/1.jpg": ("cat", "")},
    ),
    "single folders inside of each split": (
        ["I/seg_train/seg_train/sea/1.jpg", "I/seg_train/seg_train/street/1.jpg",
         "I/seg_test/seg_test/sea/2.jpg", "I/seg_test/seg_test/street/2.jpg",
         "I/seg_pred/seg_pred/3.jpg"],
        "I",
        {"I/seg_train/seg_train/sea/1.jpg": ("sea", "train"),
         "I/seg_test/seg_test/street/2.jpg": ("street", "test")},
    ),
    "a split with one class of races is not passed through": (
        ["train/cat/1.jpg", "train/dog/1.jpg", "val/cat/persian/1.jpg"],
        "",
        {"train/dog/1.jpg": ("dog", "train"), "val/cat/persian/1.jpg": ("cat", "validation")},
    ),
    "names with fillers, in any case": (
        ["d/TRAINING_SET/cats/1.jpg", "d/TRAINING_SET/dogs/1.jpg", "d/Test-Images/cats/2.jpg"],
        "d",
        {"d/TRAINING_SET/cats/1.jpg": ("cats", "train"),
         "d/Test-Images/cats/2.jpg": ("cats", "test")},
    ),
    "images without an extension": (
        ["cat/a1", "dog/b2"],
        "",
        {"dog/b2": ("dog", "")},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_recognized(case: str) -> None:
    paths, root, expected = CASES[case]
    layout = recognize(paths, None, "The folder x")
    assert layout.root == root
    for path, (label, split) in expected.items():
        assert layout.assign(path) == Assignment(label, split)
    assert layout.describe()


@pytest.mark.parametrize(
    ("case", "path"),
    [
        ("class folders at the top", "README.md"),
        ("below single folders", "a/license.txt"),
        ("other names of splits", "F/loose/1.jpg"),
        ("other names of splits", "F/papers/mureșan.pdf"),
        ("a test part without classes", "test/1.jpg"),
        ("folders of documents are no classes", "annotations/1.xml"),
    ],
)
def test_a_file_without_a_class_is_reported(case: str, path: str) -> None:
    got = recognize(CASES[case][0], None, "x").assign(path)
    assert not isinstance(got, Assignment)
    assert got[0] == "no_class"


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ([], "no folder"),
        (["1.jpg", "2.jpg"], "2 files"),
        (["cat/1.jpg", "cat/2.jpg"], "cat"),
        (["train/1.jpg", "test/2.jpg"], "without class folders"),
        (["x/train/cat/1.jpg", "x/validation/cat/2.jpg"], "two classes"),
    ],
)
def test_fewer_than_two_classes(paths: list[str], said: str) -> None:
    with pytest.raises(SourceError, match=said) as caught:
        recognize(paths, None, "The folder x")
    assert "Expected one folder per class" in str(caught.value)
    assert "The folder x" in str(caught.value)


def test_a_root_of_the_users_choice() -> None:
    paths = ["v1/cat/1.jpg", "v1/dog/1.jpg", "v2/cat/2.jpg", "v2/dog/1.jpg"]
    for root in ("v2", "v2/", "./v2"):
        layout = recognize(paths, root, "x")
        assert layout.assign("v2/cat/2.jpg") == Assignment("cat", "")
        assert not isinstance(layout.assign("v1/cat/1.jpg"), Assignment)
    with pytest.raises(SourceError, match=r"download\.root.*v3(.|\n)*v1, v2"):
        recognize(paths, "v3", "x")


def test_a_root_above_the_classes_gets_the_right_one_suggested() -> None:
    paths = ["v1/Pets/cat/1.jpg", "v1/Pets/dog/1.jpg", "v2/x/1.jpg"]
    with pytest.raises(SourceError, match=r"`download\.root: v1/Pets`"):
        recognize(paths, "v1", "x")
    assert recognize(paths, "v1/Pets", "x").classes == {"cat", "dog"}


def test_a_root_may_be_divided() -> None:
    paths = ["v1/train/cat/1.jpg", "v1/train/dog/1.jpg", "v1/test/dog/2.jpg", "v2/x/1.jpg"]
    assert recognize(paths, "v1", "x").assign("v1/test/dog/2.jpg") == Assignment("dog", "test")


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("Training", "train"),
        ("VALID", "validation"),
        ("dev", "validation"),
        ("test_set", "test"),
        ("seg_test", "test"),
        ("train images", "train"),
        ("images", None),
        ("train_test", None),
        ("contest", None),
        ("", None),
    ],
)
def test_names_of_splits(name: str, split: str | None) -> None:
    assert split_of(name) == split


JUDGED = ["a/learn/cat/1.jpg", "a/learn/dog/1.jpg", "a/judge/cat/2.jpg", "a/train/steam/3.jpg"]


def test_the_user_says_which_folder_is_which_split() -> None:
    layout = recognize(JUDGED, None, "x", {"learn": "train", "judge/": "validation"})
    assert layout.assign("a/learn/dog/1.jpg") == Assignment("dog", "train")
    assert layout.assign("a/judge/cat/2.jpg") == Assignment("cat", "validation")
    left = layout.assign("a/train/steam/3.jpg")
    assert not isinstance(left, Assignment)
    assert left[0] == "no_class"
    said = layout.describe()
    assert "judge as validation, learn as train" in said
    assert "Left out: train." in said
    assert "`download.splits`" in said


def test_the_user_says_it_deeper_down() -> None:
    layout = recognize(JUDGED, "", "x", {"a/learn": "train", "a/judge": "test"})
    assert layout.assign("a/judge/cat/2.jpg") == Assignment("cat", "test")
    assert recognize(JUDGED, "a", "x", {"learn": "train"}).assign(
        "a/learn/cat/1.jpg"
    ) == Assignment("cat", "train")


def test_a_source_that_is_not_divided_whatever_its_folders_are_called() -> None:
    paths = ["vehicles/train/steam/1.jpg", "vehicles/car/1.jpg", "vehicles/bus/1.jpg"]
    guessed = recognize([*paths, "vehicles/train/diesel/1.jpg"], None, "x")
    assert guessed.splits == {"train": "train"}
    assert "Left out: bus, car." in guessed.describe()
    layout = recognize(paths, None, "x", {})
    assert layout.assign("vehicles/train/steam/1.jpg") == Assignment("train", "")
    assert layout.assign("vehicles/bus/1.jpg") == Assignment("bus", "")


@pytest.mark.parametrize("splits", [{"learn": "train", "jugde": "test"}, {"cat": "test"}])
def test_splits_that_are_not_there(splits: dict[str, str]) -> None:
    with pytest.raises(SourceError, match=r"download\.splits") as caught:
        recognize(JUDGED, None, "The folder x", splits)
    assert "judge, learn, train" in str(caught.value)


def test_leftovers_of_systems() -> None:
    for path in (".git/config", "cat/._1.jpg", "__MACOSX/cat/1.jpg", "cat/.DS_Store"):
        assert (unwanted(path) or ("",))[0] == "hidden"
    for path in ("cat/Thumbs.db", "desktop.ini"):
        assert (unwanted(path) or ("",))[0] == "not_an_image"
    assert unwanted("cat/1.jpg") is None


@pytest.mark.parametrize(
    "name",
    ["@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found", ".ipynb_checkpoints",
     "#recycle", "@Recycle", ".Trashes", "__MACOSX", "RECYCLER", ".@__thumb"],
)  # fmt: skip
def test_folders_of_systems_are_no_classes_and_hold_no_images(name: str) -> None:
    paths = [f"{name}/1.jpg", f"{name}/cat/1.jpg", f"cat/{name}/1.jpg/thumb.jpg"]
    assert [(unwanted(path) or ("",))[0] for path in paths] == ["hidden"] * 3
    assert name in (unwanted(paths[2]) or ("", ""))[1]


def test_labels_are_composed() -> None:
    assert label_of("caf\N{LATIN SMALL LETTER E}\N{COMBINING ACUTE ACCENT}") == "café"
    layout = recognize(["cafe\u0301/1.jpg", "tea/1.jpg"], None, "x")
    assert layout.assign("cafe\u0301/1.jpg") == Assignment("café", "")


@pytest.mark.parametrize(
    "name", ["", "  ", ".", "..", "a/b", "a\\b", "a\nb", "é" * 128, "\udcff", "\u200b"]
)
def test_labels_that_are_no_names_of_folders(name: str) -> None:
    with pytest.raises(SourceError, match="cannot be the name of a class"):
        label_of(name)


names = st.text("abctrainvl", min_size=1, max_size=5)


@given(st.lists(st.lists(names, min_size=1, max_size=4).map("/".join), max_size=20, unique=True))
def test_every_file_has_a_class_or_a_reason(paths: list[str]) -> None:
    try:
        layout = recognize(paths, None, "x")
    except SourceError:
        return
    placed = [layout.assign(path) for path in paths]
    labels = {place.label for place in placed if isinstance(place, Assignment)}
    assert len(labels) >= 2
    assert labels == {label_of(name) for name in layout.classes}
