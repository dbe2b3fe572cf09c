"""The feature store: what was recorded comes back, what is damaged never does."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headstart._utils.errors import CorruptFileError, HeadstartError
from headstart.features import store as feature_store
from headstart.features.store import FeatureStore, estimate, fingerprint, store_folder

RECORD = {"backbone": "tiny", "image_size": 8}
SHAPE = (3, 2)


def name(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def vector(number: int) -> np.ndarray:
    return np.full(SHAPE, number, dtype=np.float32) / 3


def filled(count: int) -> Path:
    with FeatureStore(RECORD, SHAPE) as store:
        store.put_many([(name(i), vector(i)) for i in range(count)], seconds=count / 10)
        return store.path


def test_one_file_a_fingerprint_in_the_folder_that_the_environment_names(
    private_store: Path,
) -> None:
    path = filled(1)
    assert path == private_store / "features" / f"{fingerprint(RECORD)}.sqlite"
    with FeatureStore({**RECORD, "image_size": 9}, SHAPE) as other:
        assert other.path != path
        assert other.missing([name(0)]) == [name(0)]


def test_without_the_variable_it_lies_in_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADSTART_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    if sys.platform == "linux":
        assert store_folder() == Path("/somewhere/headstart/features")


def test_a_fingerprint_does_not_depend_on_the_order_of_a_record() -> None:
    assert fingerprint({"a": 1, "b": [2.5, None]}) == fingerprint({"b": [2.5, None], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 1.5})
    with pytest.raises(ValueError, match="JSON"):
        fingerprint({"a": float("nan")})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    arrays=st.lists(
        hnp.arrays(np.float32, SHAPE, elements=st.floats(width=32, allow_nan=False)), max_size=5
    ),
    salt=st.integers(0, 2**32),
)
def test_what_is_put_comes_back_bit_for_bit(arrays: list[np.ndarray], salt: int) -> None:
    with FeatureStore({"salt": salt}, SHAPE) as store:
        ids = [name(index) for index in range(len(arrays))]
        before = store.passes
        store.put_many(list(zip(ids, arrays, strict=True)))
        assert store.passes == before + len(arrays)
        for image_id, array, row in zip(ids, arrays, store.rows(ids), strict=True):
            assert row.dtype == np.float32
            assert row.tobytes() == array.tobytes() == store.get(image_id).tobytes()
        assert store.array(ids).tobytes() == b"".join(array.tobytes() for array in arrays)


def test_missing_keeps_the_order_and_names_each_once() -> None:
    filled(3)
    with FeatureStore(RECORD, SHAPE) as store:
        asked = [name(9), name(1), name(7), name(9), name(0)]
        assert store.missing(asked) == [name(9), name(7)]
        assert store.missing([]) == []


def test_the_counter_outlives_the_process_and_counts_every_pass() -> None:
    filled(3)
    with FeatureStore(RECORD, SHAPE) as store:
        store.put_many([(name(0), vector(0))], seconds=0.7)
        assert store.passes == 4
        assert store.seconds_per_pass == pytest.approx(0.25)


def test_nothing_is_recorded_of_a_wrong_shape() -> None:
    with FeatureStore(RECORD, SHAPE) as store:
        with pytest.raises(ValueError, match="shape"):
            store.put_many([(name(0), vector(0)), (name(1), np.zeros(5))])
        assert store.passes == 0
        assert store.missing([name(0)]) == [name(0)]
        assert store.seconds_per_pass is None


def test_the_estimate_counts_without_creating_anything(private_store: Path) -> None:
    assert estimate(RECORD, [name(0), name(0), name(1)]) == feature_store.Estimate(2, None)
    assert not private_store.exists()
    filled(2)
    found = estimate(RECORD, [name(0), name(0), name(5)])
    assert found.missing == 1
    assert found.seconds_per_pass == pytest.approx(0.1)


def test_the_estimate_of_garbage_is_that_all_is_missing_and_the_file_stays() -> None:
    path = filled(2)
    path.write_bytes(b"no database " * 1000)
    assert estimate(RECORD, [name(0)]) == feature_store.Estimate(1, None)
    assert path.read_bytes().startswith(b"no database")


def test_a_flipped_byte_in_a_row_is_reported_and_computed_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = filled(5)
    connection = sqlite3.connect(path)
    (stored,) = connection.execute("SELECT value FROM features WHERE rowid = 3").fetchone()
    value = bytearray(stored)
    value[4] ^= 1
    connection.execute("UPDATE features SET value = ? WHERE rowid = 3", (bytes(value),))
    connection.commit()
    connection.close()
    ids = [name(i) for i in range(5)]
    with FeatureStore(RECORD, SHAPE) as store:
        with pytest.raises(CorruptFileError, match=f"{name(2)}.*checksum"):
            store.get(name(2))
        assert store.missing(ids) == [name(2)]
        said = capsys.readouterr().err
        assert str(path) in said
        assert name(2) in said
        store.put_many([(name(2), vector(2))])
        assert store.missing(ids) == []
        assert capsys.readouterr().err == ""


def test_a_row_under_another_images_key_is_not_returned() -> None:
    path = filled(2)
    connection = sqlite3.connect(path)
    connection.execute(
        "UPDATE features SET (crc, value) = (SELECT crc, value FROM features WHERE rowid = 1)"
    )
    connection.commit()
    connection.close()
    with FeatureStore(RECORD, SHAPE) as store:
        assert store.missing([name(0), name(1)]) == [name(1)]


@pytest.mark.parametrize("seed", range(12))
def test_any_damage_to_the_file_is_survived_and_never_returned(
    seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = np.random.default_rng(seed)
    count = 400
    path = filled(count)
    content = bytearray(path.read_bytes())
    kind = seed % 4
    if kind == 0:
        content = content[: int(generator.integers(1, len(content)))]
    elif kind == 1:
        content = bytearray(generator.bytes(len(content)))
    elif kind == 2:
        start = int(generator.integers(0, len(content) - 3000))
        content[start : start + 3000] = generator.bytes(3000)
    else:
        for place in generator.integers(0, len(content), 50):
            content[place] ^= 0xFF
    path.write_bytes(content)

    ids = [name(i) for i in range(count)]
    with FeatureStore(RECORD, SHAPE) as store:
        lacking = 0
        for _ in range(3):
            missing = store.missing(ids)
            lacking += len(missing)
            for image_id in missing:
                store.put_many([(image_id, vector(ids.index(image_id)))])
        for index, row in enumerate(store.rows(ids)):
            assert row.tobytes() == vector(index).tobytes()
    said = capsys.readouterr().err
    if lacking:
        assert "damaged" in said or "checksum" in said
    if "It was moved to" in said:
        assert path.with_name(f"{path.name}.damaged-1").exists()


def test_a_second_damaged_file_does_not_replace_the_first() -> None:
    for content in (b"first", b"second"):
        path = filled(1)
        path.write_bytes(content * 1000)
        FeatureStore(RECORD, SHAPE).close()
    assert path.with_name(f"{path.name}.damaged-1").read_bytes().startswith(b"first")
    assert path.with_name(f"{path.name}.damaged-2").read_bytes().startswith(b"second")


def test_the_store_of_another_record_under_this_name_is_rejected(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = filled(1)
    with FeatureStore({"other": 1}, SHAPE) as other:
        other.put_many([(name(0), vector(5))])
        other_path = other.path
    other_path.replace(path)
    with FeatureStore(RECORD, SHAPE) as store:
        assert store.missing([name(0)]) == [name(0)]
    assert "0 features could be read" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_an_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "file"))
    with pytest.raises(HeadstartError, match="HEADSTART_CACHE"):
        FeatureStore(RECORD, SHAPE)


def test_a_store_that_may_only_be_read_is_an_error_and_keeps_its_rows() -> None:
    path = filled(1)
    with FeatureStore(RECORD, SHAPE) as store:
        store.connection.execute("PRAGMA query_only = ON")
        with pytest.raises(HeadstartError, match=r"cannot be used: .*read"):
            store.put_many([(name(1), vector(1))])
        assert store.get(name(0)).tobytes() == vector(0).tobytes()
    assert not path.with_name(f"{path.name}.damaged-1").exists()


def test_a_full_disk_is_an_error_and_keeps_what_was_recorded() -> None:
    filled(1)
    with FeatureStore(RECORD, SHAPE) as store:
        pages = store.connection.execute("PRAGMA page_count").fetchone()[0]
        store.connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(HeadstartError, match=r"full.*disk has room"):
            store.put_many([(name(i), vector(i)) for i in range(1, 5000)])
        assert store.passes == 1
        assert store.get(name(0)).tobytes() == vector(0).tobytes()


def test_processes_that_see_the_same_damage_at_once_set_it_aside_once() -> None:
    for content in (b"garbage" * 1000, b""):
        path = filled(50)
        damaged = bytearray(path.read_bytes())
        damaged[20_000:] = content
        path.write_bytes(damaged)
        processes = [writer(0, 50) for _ in range(4)]
        for process in processes:
            process.communicate(timeout=60)
            assert process.returncode == 0
        with FeatureStore(RECORD, SHAPE) as store:
            assert store.missing([name(i) for i in range(50)]) == []
    found = sorted(entry.name for entry in path.parent.glob("*.damaged-?"))
    assert len(found) <= 2


WRITER = """
import sys
from tests.features.test_store import RECORD, SHAPE, name, vector
from headstart.features.store import FeatureStore
with FeatureStore(RECORD, SHAPE) as store:
    for number in range(int(sys.argv[1]), int(sys.argv[2])):
        store.put_many([(name(number), vector(number))])
        print(number, flush=True)
"""


def writer(first: int, last: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(first), str(last)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    )


def test_several_processes_write_at_once_and_nothing_is_lost() -> None:
    processes = [writer(100 * index, 100 * index + 100) for index in range(4)]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    ids = [name(i) for i in range(400)]
    with FeatureStore(RECORD, SHAPE) as store:
        assert store.missing(ids) == []
        assert store.passes == 400
        assert all(row.tobytes() == vector(i).tobytes() for i, row in enumerate(store.rows(ids)))


def test_what_was_put_before_a_sigkill_is_there_after_it() -> None:
    with writer(0, 100_000) as process:
        assert process.stdout is not None
        said = [int(process.stdout.readline()) for _ in range(200)]
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
    told = said[-1] + 1 + len(rest)
    with FeatureStore(RECORD, SHAPE) as store:
        assert store.missing([name(i) for i in range(told)]) == []
        # One more than it could tell, at most: killed between recording and telling.
        assert store.passes in {told, told + 1}


FILLER = """
from tests.features.test_store import RECORD, SHAPE, name
from headstart.features.store import FeatureStore
with FeatureStore(RECORD, SHAPE) as store, store.filling():
    print(store.missing([name(0)]))
"""


def test_a_second_filler_waits_for_the_first_and_says_so(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with FeatureStore(RECORD, SHAPE) as store, store.filling():
        child = subprocess.Popen(
            [sys.executable, "-c", FILLER],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parents[2],
        )
        assert child.stderr is not None
        assert f"process {os.getpid()}" in child.stderr.readline()
        time.sleep(0.1)
        assert child.poll() is None
        store.put_many([(name(0), vector(0))])
    assert child.communicate(timeout=60)[0] == "[]\n"
