from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.cluster.chunks import Chunk, Chunks
from headstart.features.forward_passes import Image, Place
from headstart.features.store import view_key


def image(number: int, shard: int, length: int = 100) -> Image:
    name = hashlib.sha256(str(number).encode()).hexdigest()
    return Image(name, f"{number}.png", lambda: b"", Place(shard, number, length))


def taken(chunks: Chunks, speed: float | None = 0.01, threads: int = 2) -> list[Chunk]:
    found = []
    while (chunk := chunks.take(speed, threads)) is not None:
        found.append(chunk)
    assert chunks.left == 0
    return found


@given(
    shards=st.lists(st.integers(1, 60), min_size=1, max_size=12),
    views=st.integers(1, 3),
    speed=st.sampled_from([None, 1e-9, 0.004, 0.3, 5.0]),
    threads=st.integers(1, 9),
)
def test_every_pass_is_in_one_chunk_in_order(
    shards: list[int], views: int, speed: float | None, threads: int
) -> None:
    images = [
        image(1000 * shard + n, shard) for shard, count in enumerate(shards) for n in range(count)
    ]
    keys = [view_key(each.image_id, view) for each in images for view in range(1, views + 1)]
    found = taken(Chunks(images, keys, (10,)), speed, threads)
    assert [key for chunk in found for key in chunk.keys] == keys
    assert max(len(chunk.wanted) for chunk in found) <= 256


def test_large_shards_are_not_mixed_and_small_ones_are() -> None:
    large = [image(1000 * shard + n, shard) for shard in range(2) for n in range(150)]
    chunks = taken(Chunks(large, [each.image_id for each in large], (10,)), 0.01)
    mixed = [
        chunk
        for chunk in chunks
        if len({each.place.shard for each, _ in chunk.wanted if each.place}) > 1
    ]
    assert len(mixed) <= 1
    small = [image(n, n) for n in range(400)]
    first = Chunks(small, [each.image_id for each in small], (10,)).take(0.01, 2)
    assert first is not None
    assert len(first.wanted) == 25


def test_the_size_follows_speed_row_and_bytes() -> None:
    images = [image(n, 0, 1 << 20) for n in range(100)]
    ids = [each.image_id for each in images]
    assert len(Chunks(images, ids, (10,)).take(None, 2).wanted) == 4  # type: ignore[union-attr]
    assert len(Chunks(images, ids, (10,)).take(0.01, 2).wanted) == 8  # type: ignore[union-attr]
    assert len(Chunks(images, ids, (1 << 20,)).take(0.01, 2).wanted) == 2  # type: ignore[union-attr]
    assert len(Chunks(images, ids, (1 << 24,)).take(0.01, 2).wanted) == 1  # type: ignore[union-attr]


def test_what_comes_back_is_taken_first_and_only_once() -> None:
    images = [image(n, 0) for n in range(20)]
    chunks = Chunks(images, [each.image_id for each in images], (10,))
    first, second = chunks.take(None, 1), chunks.take(None, 1)
    assert first is not None
    assert second is not None
    left = chunks.left
    for chunk in (first, second, first):
        chunks.put_back(chunk)
    assert chunks.left == left + 8
    second.accepted = True
    assert chunks.take(None, 1) is first
    assert chunks.left == left
    assert sum(len(chunk.wanted) for chunk in taken(chunks)) == left


def test_passes_can_be_wanted_again() -> None:
    images = [image(n, 0) for n in range(10)]
    ids = [each.image_id for each in images]
    chunks = Chunks(images, ids, (10,))
    taken(chunks)
    chunks.want(ids[3:5])
    assert [key for chunk in taken(chunks) for key in chunk.keys] == ids[3:5]


@pytest.mark.parametrize("contents", [False, True])
def test_items_are_plain_data(contents: bool) -> None:
    one = Image("ab" * 32, "a.png", lambda: b"bytes", Place(3, 40, 5))
    [item] = Chunk([(one, 1), (one, 2)]).items(contents=contents, address="s3://b/{}".format)
    assert item == {
        "image_id": "ab" * 32,
        "name": "a.png",
        "views": [1, 2],
        "place": (3, 40, 5),
        "address": "s3://b/3",
        "content": b"bytes" if contents else None,
    }
