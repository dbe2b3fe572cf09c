from __future__ import annotations

import os
from pathlib import Path

import pytest

from headstart._utils.errors import ImageError
from headstart.serving.inputs import expand, read_file


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    images = ("in/b.png", "in/a.png", "in/deep/c.png", "d.png")
    for name in (*images, "in/.hidden.png", "in/Thumbs.db"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def names(*words: str, lines: tuple[str, ...] = ()) -> list[str]:
    return [one.name for one in expand(words, lines).inputs]


def test_a_folder_is_all_its_files_sorted_without_hidden_ones(here: Path) -> None:
    listing = expand(["in"])
    assert [one.name for one in listing.inputs] == ["in/a.png", "in/b.png", "in/deep/c.png"]
    assert listing.left_out == 2


def test_words_keep_their_order_and_may_come_twice(here: Path) -> None:
    assert names("d.png", "in/deep", "d.png") == ["d.png", "in/deep/c.png", "d.png"]


def test_an_empty_word_is_not_the_current_folder(here: Path) -> None:
    (one,) = expand([""]).inputs
    assert one.refusal == ("bad_name", "the name is empty")


def test_a_quoted_pattern_is_expanded_sorted(here: Path) -> None:
    assert names("in/[ab].png") == ["in/a.png", "in/b.png"]
    assert names("**/*.png") == ["d.png", "in/a.png", "in/b.png", "in/deep/c.png"]


def test_a_pattern_may_match_folders(here: Path) -> None:
    assert names("i?") == ["in/a.png", "in/b.png", "in/deep/c.png"]


def test_a_file_that_is_named_like_a_pattern_is_a_file(here: Path) -> None:
    (here / "[a].png").write_bytes(b"x")
    assert names("[a].png") == ["[a].png"]


def test_a_pattern_without_a_match_is_reported() -> None:
    (one,) = expand(["nothing*.here"]).inputs
    assert one.refusal == ("unreadable", "no file matches")


def test_an_empty_folder_is_reported(tmp_path: Path) -> None:
    (one,) = expand([str(tmp_path)]).inputs
    assert one.refusal == ("empty", "the folder has no files")


def test_a_dash_stands_for_the_lines(here: Path) -> None:
    found = names("d.png", "-", lines=("in/a.png\n", "\r\n", "in/deep\r\n", "http://x/y z\n"))
    assert found == ["d.png", "in/a.png", "in/deep/c.png", "http://x/y z"]


def test_links_are_followed_where_they_are_named_and_not_in_folders(here: Path) -> None:
    (here / "in/link.png").symlink_to(here / "d.png")
    refusals = {one.name: one.refusal for one in expand(["in"]).inputs}
    assert refusals["in/link.png"] == ("link", "links are not followed")
    (one,) = expand(["in/link.png"]).inputs
    assert one.refusal is None


def test_names_that_a_terminal_would_obey_are_shown_as_escapes(here: Path) -> None:
    listing = expand(["a\x1bm.png", os.fsdecode(b"\xff.png"), "http://x/\x07"])
    assert [one.name for one in listing.inputs] == [
        "a\\x1bm.png",
        "\\xff.png",
        "http://x/\\x07",
    ]
    assert all(one.refusal and one.refusal[0] == "bad_name" for one in listing.inputs)


def test_an_impossible_name_is_reported_when_it_is_read() -> None:
    for name in ("x" * 5000, "a/b/c.png"):
        (one,) = expand([name]).inputs
        with pytest.raises(ImageError, match="unreadable"):
            read_file(one.place, 10)


def test_a_file_is_read_up_to_the_bound(here: Path) -> None:
    (here / "d.png").write_bytes(b"12345")
    assert read_file("d.png", 5) == b"12345"
    with pytest.raises(ImageError, match="too_large"):
        read_file("d.png", 4)


def test_a_special_file_is_refused_without_waiting(here: Path) -> None:
    os.mkfifo(here / "pipe")
    for name in ("pipe", "in", "/dev/zero"):
        with pytest.raises(ImageError, match=r"special|unreadable"):
            read_file(name, 100)
