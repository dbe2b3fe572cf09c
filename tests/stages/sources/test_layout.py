from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.errors import SourceError
from stages.sources.layout import Place, label_of, recognize, unwanted

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
    "pictures without an extension": (
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
        assert layout.place(path) == Place(label, split)
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
def test_what_has_no_class_is_said(case: str, path: str) -> None:
    got = recognize(CASES[case][0], None, "x").place(path)
    assert not isinstance(got, Place)
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
    assert "Expected one folder a class" in str(caught.value)
    assert "The folder x" in str(caught.value)


def test_a_root_of_the_users_choice() -> None:
    paths = ["v1/cat/1.jpg", "v1/dog/1.jpg", "v2/cat/2.jpg", "v2/dog/1.jpg"]
    for root in ("v2", "v2/", "./v2"):
        layout = recognize(paths, root, "x")
        assert layout.place("v2/cat/2.jpg") == Place("cat", "")
        assert not isinstance(layout.place("v1/cat/1.jpg"), Place)
    with pytest.raises(SourceError, match=r"download\.root.*v3(.|\n)*v1, v2"):
        recognize(paths, "v3", "x")


def test_a_root_may_be_divided() -> None:
    paths = ["v1/train/cat/1.jpg", "v1/train/dog/1.jpg", "v1/test/dog/2.jpg", "v2/x/1.jpg"]
    assert recognize(paths, "v1", "x").place("v1/test/dog/2.jpg") == Place("dog", "test")


def test_leftovers_of_systems() -> None:
    for path in (".git/config", "cat/._1.jpg", "__MACOSX/cat/1.jpg", "cat/.DS_Store"):
        assert (unwanted(path) or ("",))[0] == "hidden"
    for path in ("cat/Thumbs.db", "desktop.ini"):
        assert (unwanted(path) or ("",))[0] == "not_a_picture"
    assert unwanted("cat/1.jpg") is None


def test_labels_are_composed() -> None:
    assert label_of("caf\N{LATIN SMALL LETTER E}\N{COMBINING ACUTE ACCENT}") == "café"
    layout = recognize(["cafe\u0301/1.jpg", "tea/1.jpg"], None, "x")
    assert layout.place("cafe\u0301/1.jpg") == Place("café", "")


@pytest.mark.parametrize("name", ["", "  ", ".", "..", "a/b", "a\\b", "a\nb", "é" * 128, "\udcff"])
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
    placed = [layout.place(path) for path in paths]
    labels = {place.label for place in placed if isinstance(place, Place)}
    assert len(labels) >= 2
    assert labels == {label_of(name) for name in layout.classes}
