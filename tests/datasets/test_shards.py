from __future__ import annotations

import hashlib
import random
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart._utils.errors import CorruptFileError
from headstart._utils.files import md5_file
from headstart.datasets import parts, shards
from headstart.datasets.shards import (
    SHARDS,
    Location,
    ShardReader,
    ShardWriter,
    earlier_shards,
    shard_name,
    shard_of,
)
from headstart.images.formats import EXTENSIONS

images = st.lists(
    st.tuples(st.binary(min_size=1, max_size=300), st.sampled_from(sorted(EXTENSIONS.values()))),
    max_size=25,
    unique_by=lambda image: image[0],
)


def written(folder: Path, contents: Sequence[tuple[bytes, str]]) -> dict[str, Location]:
    folder.mkdir(parents=True)
    with ShardWriter(folder) as writer:
        for content, ext in contents:
            writer.add(content, ext)
        return writer.finish()


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def some(count: int) -> list[tuple[bytes, str]]:
    return [(b"picture %d" % number, "png") for number in range(count)]


@settings(max_examples=25, deadline=None)
@given(contents=images, seed=st.integers(0, 99))
def test_round_trip_and_the_order_of_adding_does_not_matter(
    contents: list[tuple[bytes, str]], seed: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        places = written(folder / "a", contents)
        shuffled = contents.copy()
        random.Random(seed).shuffle(shuffled)
        assert written(folder / "b", shuffled + shuffled[:3]) == places
        assert files(folder / "a") == files(folder / "b")
        assert sorted(files(folder / "a")) == [shard_name(shard) for shard in range(SHARDS)]
        with ShardReader(folder / "a") as reader:
            for content, _ in contents:
                image_id = hashlib.sha256(content).hexdigest()
                place = places[image_id]
                assert place.shard == shard_of(image_id)
                assert place.length == len(content)
                assert reader.read(place.shard, place.offset, place.length, image_id) == content


def test_reading_where_there_is_no_pread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_read_once", shards._seek_and_read)
    contents = [(random.Random(number).randbytes(5000), "png") for number in range(100)]
    places = written(tmp_path / "a", contents)
    with ShardReader(tmp_path / "a") as reader, ThreadPoolExecutor(8) as pool:

        def read(content: bytes) -> bool:
            image_id = hashlib.sha256(content).hexdigest()
            place = places[image_id]
            return reader.read(place.shard, place.offset, place.length, image_id) == content

        assert all(pool.map(read, [content for content, _ in contents * 5]))


def test_a_shard_is_a_zip_file_that_other_programs_open(tmp_path: Path) -> None:
    written(tmp_path / "a", some(200))
    members = []
    for shard in range(SHARDS):
        with zipfile.ZipFile(tmp_path / "a" / shard_name(shard)) as archive:
            assert archive.testzip() is None
            names = archive.namelist()
            assert names == sorted(names)
            for member in archive.infolist():
                assert member.compress_type == zipfile.ZIP_STORED
                assert member.extra == b""
                assert member.date_time == (1980, 1, 1, 0, 0, 0)
                stem, _, ext = member.filename.partition(".")
                assert stem == hashlib.sha256(archive.read(member)).hexdigest()
                assert ext == "png"
            members += names
    assert len(members) == 200


def test_the_bytes_are_the_ones_that_earlier_versions_wrote(tmp_path: Path) -> None:
    # Shards are compared across machines and Python versions: this hash may only change together
    # with a note in the changelog, because every dvc.lock changes with it.
    written(tmp_path / "a", some(300))
    digest = hashlib.sha256()
    for _, content in sorted(files(tmp_path / "a").items()):
        digest.update(content)
    assert digest.hexdigest() == (
        "44aa9cd51fc58a818a4e958f2146e40f707afa13ab5ee3e806de83c2ea644053"
    )


def test_ten_more_images_change_at_most_ten_shards(tmp_path: Path) -> None:
    written(tmp_path / "a", some(500))
    written(tmp_path / "b", some(510))
    before, after = files(tmp_path / "a"), files(tmp_path / "b")
    assert 1 <= sum(before[name] != after[name] for name in before) <= 10


def test_a_larger_set_splits_each_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MOST", 2)
    few = written(tmp_path / "few", some(2 * SHARDS))
    many = written(tmp_path / "many", some(4 * SHARDS + 1))
    assert len(files(tmp_path / "few")) == SHARDS
    assert len(files(tmp_path / "many")) == 4 * SHARDS
    assert max(place.shard for place in many.values()) >= 2 * SHARDS
    for image_id, place in few.items():
        assert many[image_id].shard % SHARDS == place.shard
    # One more changes one shard, if their number stays.
    written(tmp_path / "more", some(4 * SHARDS + 2))
    before, after = files(tmp_path / "many"), files(tmp_path / "more")
    assert sum(before[name] != after[name] for name in after) == 1


def test_a_reader_keeps_few_shards_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_OPEN", 3)
    places = written(tmp_path / "a", some(200))
    with ShardReader(tmp_path / "a") as reader:
        for image_id, place in [*places.items(), *places.items()]:
            content = reader.read(place.shard, place.offset, place.length, image_id)
            assert hashlib.sha256(content).hexdigest() == image_id
        assert len(reader._files) == 3


def test_an_image_that_is_expected_must_be_given_or_its_shard_be_found(tmp_path: Path) -> None:
    content, other = b"first", b"second"
    first, second = (hashlib.sha256(each).hexdigest() for each in (content, other))
    cache, plain = tmp_path / "cache", tmp_path / "plain"
    places = written(plain, [(content, "png"), (other, "png")])

    def run(name: str) -> tuple[set[str], dict[str, Location]]:
        folder, earlier = tmp_path / name, earlier_shards(cache)
        folder.mkdir()
        with ShardWriter(folder, earlier) as writer:
            writer.expect(first, "png", len(content))
            writer.expect(second, "png", len(other))
            lacking = writer.lacking()
            if first in lacking:
                writer.add(content, "png", first)
            if second in lacking:
                writer.add(other, "png")
            found = writer.finish()
        earlier.save()
        return lacking, found

    assert run("a") == ({first, second}, places)
    for path in (tmp_path / "a").iterdir():
        md5 = md5_file(path)
        target = cache / "files" / "md5" / md5[:2] / md5[2:]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    assert run("b") == (set(), places)
    assert files(tmp_path / "a") == files(tmp_path / "b") == files(plain)
    (tmp_path / "c").mkdir()
    with (
        ShardWriter(tmp_path / "c") as writer,
        pytest.raises(ValueError, match="were not added"),
    ):
        writer.expect(first, "png", len(content))
        writer.finish()


def test_threads_may_add_and_read_at_once(tmp_path: Path) -> None:
    contents = some(400)
    folder = tmp_path / "a"
    folder.mkdir()
    with ShardWriter(folder) as writer:
        parts = [contents[start::4] + contents[:20] for start in range(4)]
        threads = [
            threading.Thread(target=lambda part=part: [writer.add(*item) for item in part])
            for part in parts
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        places = writer.finish()
    assert written(tmp_path / "b", contents) == places
    assert files(folder) == files(tmp_path / "b")
    wrong: list[str] = []
    with ShardReader(folder) as reader:

        def read_all() -> None:
            for image_id, place in places.items():
                content = reader.read(place.shard, place.offset, place.length, image_id)
                if hashlib.sha256(content).hexdigest() != image_id:
                    wrong.append(image_id)

        readers = [threading.Thread(target=read_all) for _ in range(4)]
        for thread in readers:
            thread.start()
        for thread in readers:
            thread.join()
    assert not wrong


def test_an_unfinished_writer_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="stop"), ShardWriter(tmp_path) as writer:
        writer.add(b"an image", "png")
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_extension_is_a_bug_of_the_caller(tmp_path: Path) -> None:
    with ShardWriter(tmp_path) as writer, pytest.raises(ValueError, match="extension"):
        writer.add(b"x", "../x")


@pytest.mark.parametrize("damage", ["flip", "cut", "absent", "moved"])
def test_damage_is_named_and_never_returned(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "a"
    places = written(folder, some(50))
    image_id, place = next(iter(places.items()))
    path = folder / shard_name(place.shard)
    content = bytearray(path.read_bytes())
    offset = place.offset
    if damage == "flip":
        content[place.offset] ^= 1
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[: place.offset + 2])
    elif damage == "absent":
        path.unlink()
    else:
        offset += 1
    with ShardReader(folder) as reader, pytest.raises(CorruptFileError, match=path.name):
        reader.read(place.shard, offset, place.length, image_id)
