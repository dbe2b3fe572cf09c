"""A second ingest gives the bytes of a first one, and decodes only what is new."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headstart._utils import stamps
from headstart._utils.errors import InputChangedError
from headstart._utils.files import md5_file
from headstart.datasets.shards import earlier_shards
from headstart.images import decode
from headstart.sources import folder
from headstart.sources import ingest as module
from headstart.sources.ingest import ingest
from headstart.sources.parameters import open_source
from tests.images import made as make
from tests.stages.test_download import parameters

GOOD = [make.png(12, 9, seed=number) for number in range(8)]
GOOD += [make.jpeg(20, 16, seed=number) for number in range(4)]
BAD = [b"", b"<html>404</html>", make.png(4, 4), make.jpeg(40, 30)[:300], b"%!PS-Adobe-3.0"]
FIXED = {"cat/fixed.png": make.png(30, 30, seed=90), "dog/fixed.png": make.png(30, 30, seed=91)}
PATHS = [f"{label}/{number}.png" for label in ("cat", "dog") for number in range(5)]


@pytest.fixture(autouse=True)
def old_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every file count as old."""
    monkeypatch.setattr(stamps, "_YOUNG", -1_000_000_000_000)


class World:
    """A folder of images, a cache as DVC fills it, and ingests of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.images, self.cache = folder, folder / "source", folder / "dvc"
        self.put(FIXED)

    def put(self, files: dict[str, bytes]) -> None:
        for path, content in files.items():
            self.images.joinpath(path).parent.mkdir(parents=True, exist_ok=True)
            self.images.joinpath(path).write_bytes(content)

    def run(self, name: str, **limits: Any) -> dict[str, bytes | str]:
        """Ingest into an empty folder; return every output, and put the shards into the cache."""
        params = parameters(source="folder", location=str(self.images), **limits)
        out = self.folder / name
        shutil.rmtree(out, ignore_errors=True)
        for part in ("shards", "thumbnails"):
            (out / part).mkdir(parents=True)
        found = ingest(open_source(params, self.images), params, out / "shards", out / "thumbnails")
        for shard in (out / "shards").iterdir():
            md5 = md5_file(shard)
            target = self.cache / "files" / "md5" / md5[:2] / md5[2:]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(shard, target)
        written = {
            path.relative_to(out).as_posix(): path.read_bytes()
            for path in sorted(out.rglob("*"))
            if path.is_file()
        }
        tables = {"images": found.images.to_csv(), "rejected": found.rejected.to_csv()}
        return {**written, **tables, "remarks": "\n".join(found.remarks)}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path)
    monkeypatch.setattr(module, "dvc_cache", lambda: world.cache)
    return world


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The files that are decoded."""
    seen: list[bytes] = []
    original = decode.inspect

    def counting(content: bytes, limits: Any) -> Any:
        seen.append(content)
        return original(content, limits)

    monkeypatch.setattr(module, "inspect", counting)
    return seen


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that are read."""
    from headstart.sources.folder import FolderSource

    seen: list[str] = []
    original: Callable[..., Any] = FolderSource._read

    def counting(self: FolderSource, entry: Any) -> Any:
        seen.append(entry.path)
        return original(self, entry)

    monkeypatch.setattr(FolderSource, "_read", counting)
    return seen


actions = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(PATHS), st.integers(0, len(GOOD + BAD) - 1)),
        st.tuples(st.just("remove"), st.sampled_from(PATHS), st.just(0)),
        st.tuples(st.just("rename"), st.sampled_from(PATHS), st.integers(0, len(PATHS) - 1)),
        st.tuples(st.just("run"), st.just(""), st.just(0)),
    ),
    max_size=12,
)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=actions)
def test_a_warm_ingest_gives_the_bytes_of_a_cold_one(
    steps: list[tuple[str, str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as name:
        world = World(Path(name))
        monkeypatch.setattr(module, "dvc_cache", lambda: world.cache)
        monkeypatch.setenv("HEADSTART_CACHE", f"{name}/warm")
        for action, path, number in [*steps, ("run", "", 0)]:
            file = world.images / path
            if action == "put":
                world.put({path: (GOOD + BAD)[number]})
            elif action == "remove":
                file.unlink(missing_ok=True)
            elif action == "rename" and file.is_file():
                target = world.images / PATHS[number]
                target.parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)
            elif action == "run":
                warm = world.run("out")
        monkeypatch.setenv("HEADSTART_CACHE", f"{name}/cold")
        monkeypatch.setattr(module, "dvc_cache", lambda: None)
        assert world.run("out") == warm


def test_added_moved_and_removed_images_cost_what_is_new(
    world: World, decoded: list[bytes], reads: list[str]
) -> None:
    world.put({path: GOOD[number] for number, path in enumerate(PATHS)})
    world.run("out")
    assert len(decoded) == len(reads) == len(PATHS) + 2
    decoded.clear()
    reads.clear()
    first = world.run("out")
    assert (decoded, reads) == ([], [])
    (world.images / "cat/0.png").rename(world.images / "cat/moved.png")
    (world.images / "dog/5.png").unlink(missing_ok=True)
    world.put({"dog/new.png": GOOD[11]})
    world.run("out")
    assert decoded == [GOOD[11]]
    # A renamed file has another time of change; the others of a shard that is written are read.
    assert {"cat/moved.png", "dog/new.png"} <= set(reads)
    shards = [name for name in first if name.endswith(".zip") and len(first[name]) > 22]
    assert len(reads) < len(PATHS) <= len(shards) + 2


def test_every_file_is_read_where_that_is_asked_for(
    world: World, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.run("out")
    reads.clear()
    monkeypatch.setenv("HEADSTART_VERIFY", "1")
    assert world.run("out") == first
    assert sorted(reads) == sorted(FIXED)


def test_other_limits_are_other_images(world: World, decoded: list[bytes]) -> None:
    world.put({"cat/small.png": GOOD[0]})
    assert "cat/small.png" in str(world.run("out")["images"])
    decoded.clear()
    found = world.run("out", min_side=20)
    assert len(decoded) == 3
    assert "cat/small.png" in str(found["rejected"])
    assert "too_small" in str(found["rejected"])


def test_a_file_that_changed_without_a_trace_stops_the_ingest_when_it_is_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put({"cat/0.png": GOOD[0]})
    file = world.images / "cat/fixed.png"
    same = stamps.Stamp(file.stat().st_size, 2, 3, 4)
    monkeypatch.setattr(folder, "stamp", lambda _: same)
    world.run("out")
    file.write_bytes(file.read_bytes()[:-20] + bytes(20))
    shutil.rmtree(world.cache)  # so that its shard is written
    with pytest.raises(InputChangedError, match=r"cat/fixed\.png .* Run again"):
        world.run("out")
    assert "cat/fixed.png" in str(world.run("out")["rejected"])  # the remedy of the message


@pytest.mark.parametrize("damage", ["values", "file", "folder"])
def test_a_damaged_record_costs_time_and_nothing_else(
    world: World, damage: str, decoded: list[bytes], private_store: Path
) -> None:
    world.put({"cat/0.png": GOOD[0], "dog/bad.png": BAD[2]})
    first = world.run("out")
    decoded.clear()
    for file in private_store.rglob("*.sqlite"):
        if damage == "values":
            with sqlite3.connect(file) as connection:
                for key, value in connection.execute("SELECT key, value FROM memo").fetchall():
                    changed = bytearray(value)
                    changed[random.Random(0).randrange(len(changed))] ^= 4
                    connection.execute("UPDATE memo SET value = ? WHERE key = ?", (changed, key))
            connection.close()
        elif damage == "file":
            content = file.read_bytes()
            file.write_bytes(b"x" * 200 + content[200:])
        else:
            file.unlink()
            file.mkdir()
    assert world.run("out") == first
    assert sorted(decoded) == sorted([*FIXED.values(), GOOD[0], BAD[2]])


def test_a_value_of_another_key_counts_for_nothing(
    world: World, decoded: list[bytes], private_store: Path
) -> None:
    first = world.run("out")
    (file,) = (private_store / "checked").glob("*.sqlite")
    with sqlite3.connect(file) as connection:
        rows = connection.execute("SELECT key, value FROM memo ORDER BY key").fetchall()
        for (key, _), (_, value) in zip(rows, rows[1:] + rows[:1], strict=True):
            connection.execute("UPDATE memo SET value = ? WHERE key = ?", (value, key))
    connection.close()
    decoded.clear()
    os.environ["HEADSTART_VERIFY"] = "1"
    try:
        assert world.run("out") == first
    finally:
        del os.environ["HEADSTART_VERIFY"]
    assert len(decoded) == 2


def test_a_damaged_object_of_the_cache_is_not_copied(world: World) -> None:
    first = world.run("out")
    for path in (world.cache / "files").rglob("*"):
        if path.is_file():
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.unlink()
            path.write_bytes(content)
    assert world.run("out") == first


def test_a_shard_is_copied_only_for_the_same_images(tmp_path: Path) -> None:
    shard = tmp_path / "00.zip"
    shard.write_bytes(b"content")
    md5 = md5_file(shard)
    target = tmp_path / "files" / "md5" / md5[:2] / md5[2:]
    target.parent.mkdir(parents=True)
    shutil.copyfile(shard, target)
    earlier = earlier_shards(tmp_path)
    earlier.record(["a.png 3"], shard)
    earlier.save()
    again = earlier_shards(tmp_path)
    assert again.find(["a.png 3"]) == target
    assert again.find(["a.png 4"]) is None
    assert earlier_shards(None).find(["a.png 3"]) is None
