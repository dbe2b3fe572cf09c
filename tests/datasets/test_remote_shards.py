"""Shards in a DVC remote, read by range."""

from __future__ import annotations

from pathlib import Path

import pytest

from headstart._utils.errors import CorruptFileError
from headstart._utils.files import md5_file
from headstart.datasets.remote_shards import RemoteShardReader, Wanted, _runs, shard_addresses
from headstart.datasets.shards import ShardWriter, shard_name
from tests.images import made as make
from tests.objects.server import Server


def test_images_are_read_by_range_and_checked(s3: Server, tmp_path: Path) -> None:
    with ShardWriter(tmp_path) as writer:
        images = {writer.add(make.png(20, 20, seed=n), "png"): n for n in range(4)}
        locations = writer.finish()
    listing = {path.name: md5_file(path) for path in tmp_path.iterdir()}
    wanted = {f"{locations[each].shard:02}.zip" for each in images}
    files = {
        f"files/md5/{md5[:2]}/{md5[2:]}": (tmp_path / name).read_bytes()
        for name, md5 in listing.items()
        if name in wanted
    }
    remote = s3.place(files, "dvc")
    addresses = shard_addresses(remote.url + "/", listing)
    assert len(addresses) == 64
    with RemoteShardReader(addresses, s3.url) as reader:
        for image_id, number in images.items():
            place = locations[image_id]
            content = reader.read(place.shard, place.offset, place.length, image_id)
            assert content == make.png(20, 20, seed=number)
        heads = [each for each in s3.seen if each.startswith("HEAD")]
        assert len(heads) == len(wanted)
        assert len(s3.gets()) == len(images)
        with pytest.raises(CorruptFileError, match="does not hold the image"):
            reader.read(place.shard, place.offset + 1, place.length, image_id)
        with pytest.raises(CorruptFileError, match="does not hold the image"):
            reader.read(place.shard, 1 << 40, place.length, image_id)
        with pytest.raises(CorruptFileError, match="No address is known"):
            reader.read(99, 0, 10, image_id)
        path = addresses[place.shard].removeprefix(remote.url).strip("/")
        s3.put(remote, {path: b"another"})
        with pytest.raises(CorruptFileError, match="was replaced or removed"):
            reader.read(place.shard, place.offset, place.length, image_id)
    s3.delete(remote, path)
    with (
        RemoteShardReader(addresses, s3.url) as reader,
        pytest.raises(CorruptFileError, match="does not exist"),
    ):
        reader.read(place.shard, place.offset, place.length, image_id)


def test_neighbors_are_read_in_one_request(s3: Server, tmp_path: Path) -> None:
    with ShardWriter(tmp_path) as writer:
        made = {writer.add(make.png(20, 20, seed=n), "png"): n for n in range(200)}
        places = writer.finish()
    shard = max(places.values(), key=lambda place: place.offset).shard
    own = {image_id: place for image_id, place in places.items() if place.shard == shard}
    assert len(own) > 2
    remote = s3.place({"a": (tmp_path / shard_name(shard)).read_bytes()})
    wanted = [Wanted(place.offset, place.length, image_id) for image_id, place in own.items()]
    with RemoteShardReader({shard: f"{remote.url}/a"}, s3.url) as reader:
        found = reader.read_several(shard, wanted[::-1])
        assert found == [make.png(20, 20, seed=made[each.image_id]) for each in wanted[::-1]]
        assert len(s3.gets()) == 1
        spoiled = wanted[1]._replace(image_id="0" * 64)
        with pytest.raises(CorruptFileError, match="does not hold the image 0000"):
            reader.read_several(shard, [wanted[0], spoiled])
        assert reader.read_several(shard, []) == []


def test_images_far_apart_are_read_one_by_one() -> None:
    near, gap = [Wanted(0, 10, "a"), Wanted(20, 10, "b")], Wanted(1 << 20, 10, "c")
    large = [Wanted(2 << 20, 7 << 20, "d"), Wanted(9 << 20, 7 << 20, "e")]
    assert _runs([gap, *near, *large]) == [[1, 2], [0], [3], [4]]
