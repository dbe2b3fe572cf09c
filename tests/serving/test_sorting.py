from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart._utils.errors import HeadstartError
from headstart.serving.inputs import Input
from headstart.serving.results import Answer, Guess
from headstart.serving.sorting import Sorter, file_name, folder_names
from tests.images.made import jpeg, png

CAT = Answer((Guess("cat", 0.9),), sure=True)
UNSURE = Answer((Guess("cat", 0.4),), sure=False)
ONE, TWO, THREE = (png(seed=seed) for seed in range(3))


def given_name(name: str) -> Input:
    return Input(name, name)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_images_go_to_their_class_and_the_unsure_ones_beside(tmp_path: Path) -> None:
    sorter = Sorter(tmp_path / "new" / "out", ["cat", "dog"])
    assert sorter.add(given_name("a/x.png"), CAT, ONE) == tmp_path / "new/out/cat/x.png"
    sorter.add(given_name("a/y.png"), UNSURE, TWO)
    assert tree(tmp_path / "new/out") == {"cat/x.png": ONE, "unsure/y.png": TWO}
    assert (sorter.copied, sorter.there) == (2, 0)


def test_another_content_gets_a_number_and_the_same_is_not_copied_again(tmp_path: Path) -> None:
    for copied, there in ((3, 0), (0, 3)):
        sorter = Sorter(tmp_path, ["cat"])
        for folder, content in (("a", ONE), ("b", TWO), ("c", THREE)):
            sorter.add(given_name(f"{folder}/x.png"), CAT, content)
        assert (sorter.copied, sorter.there) == (copied, there)
    assert tree(tmp_path) == {"cat/x.png": ONE, "cat/x-2.png": TWO, "cat/x-3.png": THREE}


def test_existing_files_are_never_overwritten(tmp_path: Path) -> None:
    outside = tmp_path / "outside.png"
    outside.write_bytes(b"precious")
    out = tmp_path / "out"
    (out / "cat").mkdir(parents=True)
    (out / "cat" / "x.png").symlink_to(outside)
    (out / "cat" / "x-2.png").symlink_to(tmp_path / "nowhere.png")
    (out / "cat" / "x-3.png").mkdir()
    path = Sorter(out, ["cat"]).add(given_name("x.png"), CAT, ONE)
    assert path.name == "x-4.png"
    assert outside.read_bytes() == b"precious"
    assert not (tmp_path / "nowhere.png").exists()


def test_a_class_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "cat").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HeadstartError, match="is a link"):
        Sorter(tmp_path / "out", ["cat"]).add(given_name("x.png"), CAT, ONE)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_an_impossible_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(HeadstartError, match="cannot be written"):
        Sorter(tmp_path / "file" / "out", ["cat"])


def test_a_class_may_be_called_unsure(tmp_path: Path) -> None:
    sorter = Sorter(tmp_path, ["cat", "unsure"])
    sorter.add(given_name("x.png"), Answer((Guess("unsure", 0.9),), sure=True), ONE)
    sorter.add(given_name("y.png"), UNSURE, TWO)
    assert tree(tmp_path) == {"unsure/x.png": ONE, "unsure-2/y.png": TWO}


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a/b", "a_b"),
        ("..", "_"),
        ("  dots. ", "dots"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("a:b*c?", "a_b_c_"),
        ("\x1b[31m", "_[31m"),
        ("", "_"),
    ],
)
def test_names_are_made_safe(name: str, safe: str) -> None:
    assert folder_names([name]) == [safe]


@given(st.lists(st.text(max_size=300), unique=True, max_size=20))
def test_any_classes_get_folders_of_their_own(classes: list[str]) -> None:
    names = folder_names(classes)
    assert len({name.casefold() for name in names}) == len(classes)
    for name in names:
        assert name not in {"", ".", ".."}
        assert not set('/\\:*?"<>|\0') & set(name)
        assert len(name.encode()) <= 255
        assert not name.endswith((" ", "."))


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("dir/photo.JPG", "photo.JPG"),
        ("dir\\photo.jpeg", "photo.jpeg"),
        ("photo", "photo.jpg"),
        ("photo.of.my cat", "photo.of.my cat.jpg"),
        ("http://x/a/b%20c.png?size=3", "b c.png"),
        ("https://x/get?id=7", "get.jpg"),
        ("http://x/", "image.jpg"),
        ("http://x/page.html", "page.html.jpg"),
        ("http://x/a.JPE", "a.JPE"),
        ("page.html", "page.html"),
        ("http://x/%2e%2e%2f%2e%2e%2fpasswd", "passwd.jpg"),
    ],
)
def test_the_copy_is_named_after_the_image(place: str, name: str) -> None:
    assert file_name(given_name(place), jpeg()) == name
