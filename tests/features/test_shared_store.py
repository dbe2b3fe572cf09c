"""A store of another user: read, left as it is, and never closed to its owner."""

from __future__ import annotations

import os
import pickle
import shutil
import stat
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headstart._utils.errors import HeadstartError
from headstart.features.store import FeatureStore, estimate
from tests.features.test_store import RECORD, SHAPE, name, vector

pytestmark = pytest.mark.skipif(
    sys.platform == "win32" or not hasattr(os, "geteuid") or os.geteuid() != 0,
    reason="only root can act as several users",
)
ALICE, BOB, GROUP = 23001, 23002, 23100


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of Alice that everyone can reach; pytest's own are closed to other users."""
    made = Path(tempfile.mkdtemp(dir="/tmp"))
    made.chmod(0o755)
    inside = made / "features"
    inside.mkdir()
    os.chown(inside, ALICE, ALICE)
    yield inside
    shutil.rmtree(made)


def acting(
    user: int, action: Callable[[], Any], group: int | None = None, mask: int = 0o022
) -> Any:
    """Run ``action`` as another user in a process of its own; return or raise what it does."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.umask(mask)
            os.setgroups([] if group is None else [group])
            os.setgid(user)
            os.setuid(user)
            try:
                outcome = (True, action())
            except HeadstartError as error:
                outcome = (False, str(error))
            os.write(writing, pickle.dumps(outcome))
        except BaseException:  # noqa: BLE001 - shown by the parent's failure
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:  # noqa: PTH123 - a descriptor
        content = pipe.read()
    os.waitpid(child, 0)
    good, value = pickle.loads(content)
    if not good:
        raise HeadstartError(value)
    return value


def put(folder: Path, *numbers: int) -> None:
    with FeatureStore(RECORD, SHAPE, folder) as store, store.filling():
        store.put_many([(name(number), vector(number)) for number in numbers])


def read(folder: Path, *numbers: int) -> list[bytes]:
    with FeatureStore(RECORD, SHAPE, folder) as store:
        assert not store.missing([name(number) for number in numbers])
        return [store.get(name(number)).tobytes() for number in numbers]


def state(folder: Path) -> dict[str, tuple[int, int, int]]:
    return {
        path.name: (path.stat().st_uid, path.stat().st_mode, path.stat().st_size)
        for path in folder.iterdir()
    }


def wanted(*numbers: int) -> list[bytes]:
    return [vector(number).tobytes() for number in numbers]


@pytest.mark.parametrize("mode", [0o755, 0o777, 0o1777])
def test_another_user_reads_and_leaves_nothing(folder: Path, mode: int) -> None:
    acting(ALICE, lambda: put(folder, 1, 2))
    folder.chmod(mode)
    before = state(folder)
    assert acting(BOB, lambda: read(folder, 1, 2)) == wanted(1, 2)
    assert state(folder) == before
    acting(ALICE, lambda: put(folder, 3))
    assert acting(ALICE, lambda: read(folder, 1, 2, 3)) == wanted(1, 2, 3)


@pytest.mark.parametrize("mode", [0o755, 0o777])
def test_the_latest_rows_of_a_run_at_work_are_read(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    acting(ALICE, lambda: put(folder, 0))
    owner = FeatureStore(RECORD, SHAPE, folder)  # as root, whose log belongs to Alice
    try:
        owner.put_many([(name(1), vector(1))])
        before = state(folder)
        assert before[f"{owner.path.name}-wal"][0] == ALICE
        assert acting(BOB, lambda: read(folder, 0, 1)) == wanted(0, 1)
        assert state(folder) == before
    finally:
        owner.close()
    assert acting(ALICE, lambda: read(folder, 0, 1)) == wanted(0, 1)


def test_what_is_missing_is_refused_before_it_is_computed(folder: Path) -> None:
    acting(ALICE, lambda: put(folder, 1))
    folder.chmod(0o777)
    before = state(folder)
    with pytest.raises(HeadstartError, match=f"belongs to user {ALICE}.*HEADSTART_CACHE") as said:
        acting(BOB, lambda: put(folder, 2))
    assert str(folder) in str(said.value)
    assert state(folder) == before


def test_a_damaged_store_of_another_user_stays_as_it_is(folder: Path) -> None:
    acting(ALICE, lambda: put(folder, 1))
    path = next(folder.glob("*.sqlite"))
    content = path.read_bytes()
    path.write_bytes(b"x" * len(content))
    folder.chmod(0o777)
    before = state(folder)
    with pytest.raises(HeadstartError, match=f"belongs to user {ALICE}"):
        acting(BOB, lambda: read(folder, 1))
    assert state(folder) == before


def test_a_damaged_row_of_another_user_is_missing_and_stays(folder: Path) -> None:
    acting(ALICE, lambda: put(folder, 1))
    path = next(folder.glob("*.sqlite"))
    path.write_bytes(path.read_bytes().replace(vector(1).tobytes(), vector(2).tobytes()))
    before = state(folder)

    def missing() -> list[str]:
        with FeatureStore(RECORD, SHAPE, folder) as store:
            return store.missing([name(1)])

    assert acting(BOB, missing) == [name(1)]
    assert state(folder) == before


def test_a_group_shares_a_store_by_the_steps_of_the_docs(folder: Path) -> None:
    os.chown(folder, ALICE, GROUP)
    folder.chmod(0o2775)  # chgrp GROUP; chmod g+rwxs
    acting(ALICE, lambda: put(folder, 1), GROUP, mask=0o002)
    acting(BOB, lambda: put(folder, 2), GROUP, mask=0o022)
    acting(ALICE, lambda: put(folder, 3), GROUP, mask=0o022)
    assert acting(BOB, lambda: read(folder, 1, 2, 3), GROUP) == wanted(1, 2, 3)
    for path in folder.iterdir():
        assert path.stat().st_gid == GROUP
        assert path.stat().st_mode & stat.S_IWGRP


def test_without_the_groups_folder_a_group_only_reads(folder: Path) -> None:
    # What Bob puts there would have Bob's own group, and Alice could not write it.
    acting(ALICE, lambda: put(folder, 1), mask=0o002)
    path = next(folder.glob("*.sqlite"))
    os.chown(path, ALICE, GROUP)
    folder.chmod(0o777)
    with pytest.raises(HeadstartError, match="can only be read"):
        acting(BOB, lambda: put(folder, 2), GROUP)
    acting(ALICE, lambda: put(folder, 2))


def test_root_leaves_nothing_that_its_owner_cannot_write(folder: Path) -> None:
    put(folder, 1)
    acting(ALICE, lambda: put(folder, 2))
    put(folder, 3)
    acting(ALICE, lambda: put(folder, 4))
    assert {path.stat().st_uid for path in folder.iterdir()} == {ALICE}


def test_a_log_that_another_user_left_is_named_and_the_remedy_works(folder: Path) -> None:
    acting(ALICE, lambda: put(folder, 1))
    path = next(folder.glob("*.sqlite"))
    for suffix in ("-wal", "-shm"):
        stray = Path(f"{path}{suffix}")
        stray.write_bytes(b"")
        os.chown(stray, BOB, BOB)
        stray.chmod(0o644)
    with pytest.raises(HeadstartError, match=f"the owner is user {BOB}.*delete both") as said:
        acting(ALICE, lambda: put(folder, 2))
    assert f"{path}-wal and {path}-shm" in str(said.value)

    def mended() -> None:
        for suffix in ("-wal", "-shm"):
            Path(f"{path}{suffix}").unlink()
        put(folder, 2)

    acting(ALICE, mended)
    assert acting(ALICE, lambda: read(folder, 1, 2)) == wanted(1, 2)


def test_the_estimate_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(folder.parent))
    acting(ALICE, lambda: put(folder, 1))
    folder.chmod(0o777)
    before = state(folder)
    found = acting(BOB, lambda: estimate(RECORD, [name(1), name(2)]).missing)
    assert found == 1
    assert state(folder) == before
