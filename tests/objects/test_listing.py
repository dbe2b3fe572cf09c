"""The listing of a prefix, its file, and everything that the file may wrongly be."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart._utils.errors import SourceError
from headstart.objects import listing as module
from headstart.objects.listing import (
    Listing,
    difference,
    list_objects,
    read_listing,
    write_listing,
)
from headstart.objects.place import Place, Stored
from tests.objects.server import Server, store_of

PLACE = Place("s3://bucket/in")
STORED = (Stored("in/a/1.jpg", 3, "e1"), Stored("in/b/2.jpg", 5, "e2"))

keys = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).map(lambda text: f"in/{text}")
odd = st.binary(min_size=1, max_size=9).map(lambda raw: f"in/{os.fsdecode(raw)}")


@given(st.lists(st.one_of(keys, odd), unique=True), st.text(st.characters(codec="utf-8")))
def test_any_key_reads_back(names: list[str], version: str) -> None:
    objects = tuple(Stored(key, number, version) for number, key in enumerate(sorted(names)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "objects.csv"
        write_listing(path, Listing(PLACE, objects))
        assert read_listing(path, PLACE).objects == objects
        text = path.read_text(encoding="ascii")
        assert text.splitlines() == text.split("\n")[:-1]
        assert all(line.startswith("s3://bucket/in/") for line in text.splitlines()[1:])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: the first line is not object,bytes,version"),
        ("object,bytes,version\ns3://bucket/in/a,3\n", "line 2: it has not three cells"),
        ("object,bytes,version\ns3://bucket/in/a,x,e\n", "line 2: it has not three cells"),
        ("object,bytes,version\ns3://bucket/in/a," + "9" * 5000 + ",e\n", "line 2: it has not"),
        ("object,bytes,version\ns3://bucket/in/a,3,e", "line 2: it has not three cells"),
        ("object,bytes,version\ns3://bucket/in/" + "a" * 20_000 + ",3,e\n", "line 2"),
        ("object,bytes,version\n" + 2 * "s3://bucket/in/a,3,e\n", "line 3: the objects are not"),
        ("object,bytes,version\ns3://bucket/out/a,3,e\n", "is no object below s3://bucket/in/"),
        ("object,bytes,version\ns3://other/in/a,3,e\n", "is no object below s3://bucket/in/"),
        ("object,bytes,version\ns3://bucket/in/,3,e\n", "is no object below s3://bucket/in/"),
    ],
)
def test_a_damaged_listing_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "objects.csv"
    path.write_text(text)
    with pytest.raises(SourceError) as caught:
        read_listing(path, PLACE)
    assert said in str(caught.value)
    assert "`headstart list-objects` writes it again" in str(caught.value)


def test_a_folder_is_no_listing(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"Set `download\.location: data/objects\.csv`"):
        read_listing(tmp_path, PLACE)


def test_bounds_and_what_is_not_there(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    place = s3.place({"a/1.jpg": b"123", "a/": b"", "b/2.jpg": b"4", "pets.zip": b"PK"}, "in")
    found = list_objects(store_of(place), 6)
    assert [each.key for each in found.objects] == ["in/a/1.jpg", "in/b/2.jpg", "in/pets.zip"]
    assert found.bytes == 6
    with pytest.raises(SourceError, match=r"download\.max_total_bytes"):
        list_objects(store_of(place), 5)
    with pytest.raises(SourceError, match="There are no objects below"):
        list_objects(store_of(place.at(f"{place.url}/c")), 6)
    with pytest.raises(SourceError, match=r"is one object of 2 bytes, .* `download\.sha256`"):
        list_objects(store_of(place.at(f"{place.url}/pets.zip")), 6)
    monkeypatch.setattr(module, "MOST", 2)
    with pytest.raises(SourceError, match="more than 2 objects"):
        list_objects(store_of(place), 6)


def test_differences_are_by_key_size_and_version() -> None:
    new = (STORED[0], Stored("in/b/2.jpg", 5, "e3"), Stored("in/c", 1, "e4"))
    found = difference(STORED, new)
    assert (found.added, found.changed, found.removed) == (("in/c",), ("in/b/2.jpg",), ())
    assert str(found) == "1 new, 1 changed, 0 removed"
    assert difference(new, STORED).removed == ("in/c",)
    assert not difference(STORED, STORED)
