"""One image, one pass: counted while the process is killed, interrupted, repeated and renamed."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headstart._utils.errors import HeadstartError
from headstart.backbones.litert import interpreters
from headstart.features import extraction, forward_passes
from headstart.features.extraction import extract, fingerprint_record, open_store
from headstart.features.forward_passes import Engine, Image, ShardImages
from headstart.features.npy import write_npy
from headstart.features.store import FeatureStore, estimate
from headstart.images import resize
from tests.images.made import pixels, png
from tests.training.models import backbone

ROOT = Path(__file__).resolve().parents[2]
RECORD = {"backbone": "fake"}
SHAPE = (6,)
SIZE = 4


def content_of(number: int) -> bytes:
    return f"image {number}".encode()


class Memory:
    """A reader of images in memory instead of shards."""

    def __init__(self) -> None:
        self.reads: list[str] = []
        self.contents: dict[str, bytes] = {}

    def read(self, shard: int, offset: int, length: int, image_id: str) -> bytes:
        self.reads.append(image_id)
        return self.contents[image_id]


def rows(numbers: list[int], reader: Memory | None = None) -> pd.DataFrame:
    ids = [hashlib.sha256(content_of(n)).hexdigest() for n in numbers]
    if reader is not None:
        reader.contents.update(zip(ids, map(content_of, numbers), strict=True))
    return pd.DataFrame(
        {
            "image_id": ids,
            "path": [f"class/{n}.png" for n in numbers],
            "shard": [int(i[:8], 16) % 64 for i in ids],
            "offset": numbers,
            "bytes": [len(content_of(n)) for n in numbers],
        }
    )


def decode(content: bytes, size: int, *, gray16_bits: int | None = None) -> np.ndarray:
    digest = hashlib.sha512(content).digest()[: size * size * 3]
    return np.frombuffer(digest, dtype=np.uint8).reshape(size, size, 3)


def network(batch: np.ndarray) -> np.ndarray:
    """Deterministic, and independent of the batch."""
    return np.stack([image.reshape(-1)[:6].astype(np.float32) / 255 for image in batch])


class Counting:
    """The network, counting the images that pass, and holding only one thread at a time."""

    def __init__(self) -> None:
        self.passes = 0
        self.made = 0
        self.lock = threading.Lock()

    def make(self) -> Callable[[np.ndarray], np.ndarray]:
        self.made += 1
        busy = threading.Lock()

        def function(batch: np.ndarray) -> np.ndarray:
            assert busy.acquire(blocking=False), "one function served two threads at once"
            with self.lock:
                self.passes += len(batch)
            result = network(batch)
            busy.release()
            return result

        return function


def run(numbers: list[int], base: Counting | None = None, **options: Any) -> extraction.Passes:
    reader = Memory()
    table = rows(numbers, reader)
    options = {"decode": decode, **options}
    make = options.pop("make", None) or (base or Counting()).make
    engine = Engine(make, SIZE, None, options.pop("batch", 1), options.pop("functions", None))
    with FeatureStore(RECORD, SHAPE) as store:
        return extract(ShardImages(table, reader), engine, store, "Test", **options)


def assembled(numbers: list[int], folder: Path, dtype: str = "float32") -> bytes:
    with FeatureStore(RECORD, SHAPE) as store:
        target = folder / "assembled.npy"
        ids = list(rows(numbers)["image_id"])
        digest = write_npy(target, len(ids), SHAPE, dtype, store.rows(ids))
    content = target.read_bytes()
    assert digest == hashlib.sha256(content).hexdigest()
    return content


def expected(numbers: list[int]) -> np.ndarray:
    return network(np.stack([decode(content_of(n), SIZE) for n in numbers]))


def recorded() -> int:
    with FeatureStore(RECORD, SHAPE) as store:
        return store.passes


@pytest.mark.parametrize(
    "options",
    [
        {"workers": 1},
        {"workers": 2},
        {"workers": 4},
        {"workers": 4, "functions": 1},
        {"workers": 3, "batch": 7, "functions": 1},
        {"workers": 2, "batch": 1000},
    ],
)
def test_the_bytes_do_not_depend_on_threads_or_batches(
    options: dict[str, int], tmp_path: Path
) -> None:
    base = Counting()
    passes = run(list(range(50)), base, **options)
    assert (passes.done, passes.cached, passes.images) == (50, 0, 50)
    assert base.passes == recorded() == 50
    assert base.made <= options.get("functions", options["workers"])
    assembled(list(range(50)), tmp_path)
    array = np.load(tmp_path / "assembled.npy", allow_pickle=False)
    assert array.tobytes() == expected(list(range(50))).tobytes()


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30
)
@given(
    runs=st.lists(st.lists(st.integers(0, 30), max_size=20), min_size=1, max_size=5),
    batch=st.integers(1, 9),
)
def test_every_distinct_image_passes_once_whatever_is_asked_for(
    runs: list[list[int]], batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(dir=tmp_path) as fresh:
        monkeypatch.setenv("HEADSTART_CACHE", fresh)
        base = Counting()
        seen: set[int] = set()
        for numbers in runs:
            passes = run(numbers, base, batch=batch, workers=2)
            assert passes.done == len(set(numbers) - seen)
            assert passes.cached == len(set(numbers) & seen)
            seen |= set(numbers)
            if numbers:
                assembled(numbers, tmp_path)
                array = np.load(tmp_path / "assembled.npy", allow_pickle=False)
                assert array.tobytes() == expected(numbers).tobytes()
        assert recorded() == base.passes == len(seen)


def test_forty_new_images_cost_forty_passes_and_nothing_else_costs_any() -> None:
    everything = list(range(200))
    assert run(everything).done == 200
    assert run(everything).done == 0
    grown = run([*everything, *range(500, 540)])
    assert (grown.done, grown.cached) == (40, 200)
    assert run(everything[::20]).done == 0
    assert recorded() == 240


def test_no_room_for_features_is_reported_before_the_first_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run([1, 2])
    usage = shutil.disk_usage(ROOT)._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert run([1, 2]).cached == 2
    base = Counting()
    with pytest.raises(HeadstartError, match=r"1 MB is free.*HEADSTART_CACHE"):
        run([1, 2, 3], base)
    assert base.made == base.passes == 0


def test_no_network_is_made_when_nothing_is_missing() -> None:
    base = Counting()
    run([1, 2], base)
    made = base.made
    run([2, 1], base)
    assert base.made == made


def test_the_store_keeps_float32_so_that_another_dtype_costs_no_pass(tmp_path: Path) -> None:
    run(list(range(9)))
    half = np.frombuffer(assembled(list(range(9)), tmp_path, "float16")[-9 * 6 * 2 :], "<f2")
    assert half.reshape(9, 6).tobytes() == expected(list(range(9))).astype("<f2").tobytes()
    assert recorded() == 9


def test_the_report_says_what_happened() -> None:
    text = str(run([1, 2, 2, 3]))
    assert text.startswith(
        "4 images (1 identical to others): 3 passed through the backbone, 0 cached ("
    )
    assert str(run([1, 2])).startswith("2 images: 0 passed through the backbone, 2 cached")


def test_an_image_that_fails_is_named_and_the_others_are_kept() -> None:
    def failing(content: bytes, size: int, *, gray16_bits: int | None) -> np.ndarray:
        if content == content_of(30):
            raise ValueError("broken in the middle")
        return decode(content, size, gray16_bits=gray16_bits)

    with pytest.raises(HeadstartError, match=r"class/30\.png.*broken in the middle"):
        run(list(range(60)), decode=failing, workers=2)
    done = recorded()
    # In the order of shards, so how many come before the broken one is not 30.
    assert 0 < done < 60
    assert run(list(range(60)), workers=2).done == 60 - done


def test_a_feature_that_is_not_finite_is_refused_by_name() -> None:
    def make() -> Callable[[np.ndarray], np.ndarray]:
        return lambda batch: np.where(batch.reshape(len(batch), -1)[:, :6] > -1, np.nan, 0)

    with pytest.raises(HeadstartError, match=r"class/7\.png.*not a finite number"):
        run([7], make=make)
    assert recorded() == 0


def test_a_network_of_another_shape_is_refused() -> None:
    with pytest.raises(HeadstartError, match=r"shape \(5,\).*\(6,\)"):
        run([7], make=lambda: lambda batch: np.zeros((len(batch), 5), np.float32))


def test_a_network_that_fails_does_not_hang_the_run() -> None:
    def broken(batch: np.ndarray) -> np.ndarray:
        raise RuntimeError("out of memory")

    with pytest.raises(HeadstartError, match=r"class/\d\.png.*out of memory"):
        run(list(range(9)), make=lambda: broken, workers=2)


def test_ctrl_c_keeps_what_was_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    base = Counting()
    monkeypatch.setattr(forward_passes, "COMMIT_ROWS", 4)

    class Interrupting(FeatureStore):
        interrupted = False

        def put_many(self, items: Any, seconds: float = 0.0) -> None:
            super().put_many(items, seconds)
            if self.passes >= 10 and not self.interrupted:
                self.interrupted = True
                raise KeyboardInterrupt

    reader = Memory()
    images = ShardImages(rows(list(range(40)), reader), reader)
    with Interrupting(RECORD, SHAPE) as store, pytest.raises(KeyboardInterrupt):
        extract(images, Engine(base.make, SIZE, None), store, "Test", workers=2, decode=decode)
    assert recorded() == base.passes < 40
    run(list(range(40)), base)
    assert base.passes == recorded() == 40


def test_results_are_committed_in_batches_and_each_pass_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forward_passes, "COMMIT_S", 60.0)
    monkeypatch.setattr(forward_passes, "COMMIT_ROWS", 16)
    sizes: list[int] = []

    class Recording(FeatureStore):
        def put_many(self, items: Any, seconds: float = 0.0) -> None:
            sizes.append(len(items))
            super().put_many(items, seconds)

    reader, base = Memory(), Counting()
    images = ShardImages(rows(list(range(40)), reader), reader)
    with Recording(RECORD, SHAPE) as store:
        extract(images, Engine(base.make, SIZE, None), store, "Test", workers=2, decode=decode)
        assert store.passes == base.passes == 40
    assert sizes == [16, 16, 8]


def test_a_result_waits_for_its_commit_no_longer_than_agreed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forward_passes, "COMMIT_S", 0.05)
    committed, first = threading.Event(), iter([True])

    def make() -> Any:
        def function(batch: np.ndarray) -> np.ndarray:
            if not next(first, False):  # The second pass lasts until the first is committed.
                assert committed.wait(60)
            return network(batch)

        return function

    class Recording(FeatureStore):
        def put_many(self, items: Any, seconds: float = 0.0) -> None:
            super().put_many(items, seconds)
            committed.set()

    reader = Memory()
    images = ShardImages(rows([0, 1], reader), reader)
    with Recording(RECORD, SHAPE) as store:
        extract(images, Engine(make, SIZE, None), store, "Test", workers=1, decode=decode)
    assert recorded() == 2


def test_memory_holds_a_few_images_whatever_their_number() -> None:
    alive = 0
    most = 0
    lock = threading.Lock()

    class Tracked(Memory):
        def read(self, shard: int, offset: int, length: int, image_id: str) -> bytes:
            nonlocal alive, most
            with lock:
                alive += 1
                most = max(most, alive)
            return super().read(shard, offset, length, image_id)

    def make() -> Any:
        def function(batch: np.ndarray) -> np.ndarray:
            nonlocal alive
            time.sleep(0.002)
            with lock:
                alive -= len(batch)
            return network(batch)

        return function

    reader = Tracked()
    table = rows(list(range(200)), reader)
    with FeatureStore(RECORD, SHAPE) as store:
        extract(
            ShardImages(table, reader),
            Engine(make, SIZE, None),
            store,
            "Test",
            workers=2,
            decode=decode,
        )
    # Two tasks a worker in flight.
    assert most <= 4


DRIVER = """
import sys, time
from pathlib import Path
from headstart.features.store import FeatureStore
from headstart.features.extraction import extract
from headstart.features.npy import write_npy
from headstart.features.forward_passes import Engine, ShardImages
from tests.features.test_extraction import *
forward_passes.COMMIT_S = 0.005
numbers, target, batch = list(range(int(sys.argv[1]))), Path(sys.argv[2]), int(sys.argv[3])
def slow():
    def function(batch):
        time.sleep(0.002 * len(batch))
        return network(batch)
    return function
reader = Memory()
table = rows(numbers, reader)
with FeatureStore(RECORD, SHAPE) as store:
    engine = Engine(slow, SIZE, None, batch)
    extract(ShardImages(table, reader), engine, store, "Test", decode=decode, workers=2)
    ids = list(table["image_id"])
    write_npy(target, len(ids), store.shape, "float32", store.rows(ids))
"""


def driver(count: int, target: Path, batch: int = 1) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(count), str(target), str(batch)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


@pytest.mark.parametrize("batch", [1, pytest.param(16, marks=pytest.mark.slow)])
def test_killed_at_random_moments_it_goes_on_and_gives_the_same_bytes(
    batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 600
    target = tmp_path / "features.npy"
    chance = random.Random(batch)
    ids = list(rows(list(range(count)))["image_id"])
    done = [0]
    for _ in range(5):
        process = driver(count, target, batch)
        while count - estimate(RECORD, ids).missing <= done[-1]:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.05))
        process.kill()
        process.communicate(timeout=60)
        done.append(recorded())
        assert not target.exists()
    assert done[-1] < count, "the kills came too late to prove anything"
    process = driver(count, target, batch)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert recorded() == count
    assert np.load(target, allow_pickle=False).tobytes() == expected(list(range(count))).tobytes()

    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "another"))
    run(list(range(count)))
    assert assembled(list(range(count)), tmp_path) == target.read_bytes()


def test_two_processes_at_once_pass_each_image_once(tmp_path: Path) -> None:
    targets = [tmp_path / f"{index}.npy" for index in range(2)]
    processes = [driver(200 + 50 * index, target) for index, target in enumerate(targets)]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert recorded() == 250
    for index, target in enumerate(targets):
        array = np.load(target, allow_pickle=False)
        assert array.tobytes() == expected(list(range(200 + 50 * index))).tobytes()


def test_a_store_that_is_found_damaged_in_mid_run_is_filled_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(list(range(50)))

    class Damaged(FeatureStore):
        hurt = False

        def put_many(self, items: Any, seconds: float = 0.0) -> None:
            if not self.hurt:
                self.hurt = True
                self._move_aside("for the test")
                self.repairing(lambda: self._remove(list(rows([3, 4])["image_id"])))
            super().put_many(items, seconds)

    reader = Memory()
    table = rows(list(range(60)), reader)
    with Damaged(RECORD, SHAPE) as store:
        extract(
            ShardImages(table, reader),
            Engine(Counting().make, SIZE, None),
            store,
            "Test",
            decode=decode,
        )
        assert store.missing(table["image_id"]) == []
    assembled(list(range(60)), tmp_path)
    array = np.load(tmp_path / "assembled.npy", allow_pickle=False)
    assert array.tobytes() == expected(list(range(60))).tobytes()
    assert "is damaged" in capsys.readouterr().err


def test_features_of_any_images_in_the_order_asked_for() -> None:
    record, base = backbone(feature_shape=SHAPE, image_size=SIZE), Counting()
    reads: list[int] = []

    def image(number: int) -> Image:
        def read() -> bytes:
            reads.append(number)
            return png(SIZE, SIZE, seed=number)

        content = png(SIZE, SIZE, seed=number)
        return Image(hashlib.sha256(content).hexdigest(), f"image {number}", read)

    asked = [image(number) for number in (5, 3, 5, 4)]
    engine = Engine(base.make, SIZE, None)
    ids = [image.image_id for image in asked]
    with open_store(record, engine) as store:
        passes, features = extract(asked, engine, store, "Test"), store.array(ids)
    assert (passes.images, passes.done, passes.cached) == (4, 3, 0)
    assert sorted(reads) == [3, 4, 5]
    assert features.shape == (4, *SHAPE)
    for row, number in zip(features, (5, 3, 5, 4), strict=True):
        expected = network(pixels(png(SIZE, SIZE, seed=number), SIZE)[None])[0]
        assert row.tobytes() == expected.tobytes()
    with open_store(record, engine) as store:
        passes, again = extract(asked[::-1], engine, store, "Test"), store.array(ids[::-1])
    assert (passes.done, passes.cached) == (0, 3)
    assert again.tobytes() == features[::-1].tobytes()
    assert base.passes == 3


MEMORY = """
import resource, sys
from pathlib import Path
from tests.features.test_extraction import Memory, decode, rows
from headstart.features.store import FeatureStore
from headstart.features.extraction import extract
from headstart.features.npy import write_npy
from headstart.features.forward_passes import Engine, ShardImages
import numpy as np
class Anything(Memory):
    def read(self, shard, offset, length, image_id):
        return bytes.fromhex(image_id)
def network():
    return lambda batch: np.full((len(batch), 7, 7, 160), batch[0, 0, 0, 0], np.float32)
table = rows(list(range(int(sys.argv[1]))))
with FeatureStore({}, (7, 7, 160)) as store:
    images = ShardImages(table, Anything())
    extract(images, Engine(network, 4, None), store, "Test", decode=decode, workers=2)
    ids = list(table["image_id"])
    write_npy(Path(sys.argv[2]), len(ids), store.shape, "float32", store.rows(ids))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_resident_memory_does_not_grow_with_the_number_of_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kilobytes = []
    for count in (100, 3000):
        target = tmp_path / f"{count}.npy"
        monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / f"store {count}"))
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, str(count), str(target)],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        kilobytes.append(int(done.stdout) // (1024 if sys.platform == "darwin" else 1))
    assert target.stat().st_size > 90_000_000
    assert kilobytes[1] - kilobytes[0] < 15_000


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "mobilenet"), ("alpha", 0.5), ("weights_sha256", "c" * 64), ("image_size", 96),
        ("cut", "block_1"), ("pooling", "max"), ("preprocessing", "torch"),
        ("tflite_sha256", "d" * 64), ("gray16_bits", 12),
    ],
)  # fmt: skip
def test_what_decides_a_feature_is_in_the_fingerprint(field: str, value: object) -> None:
    assert fingerprint_record(backbone(), "litert") != fingerprint_record(
        backbone(**{field: value}), "litert"
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [("origin", "elsewhere"), ("weights", "a file of the same content"), ("parity", None)],
)
def test_what_does_not_decide_it_is_not(field: str, value: object) -> None:
    assert fingerprint_record(backbone(), "litert") == fingerprint_record(
        backbone(**{field: value}), "litert"
    )


def test_a_fingerprint_says_nothing_of_bits_that_were_not_set() -> None:
    plain, bits = (fingerprint_record(backbone(gray16_bits=bits), "litert") for bits in (None, 12))
    assert plain["pixels"] == resize.SPEC
    assert {key for key in plain if plain[key] != bits[key]} == {"pixels"}
    assert plain.keys() == bits.keys()


def test_engine_device_and_decoder_are_in_the_fingerprint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [
        fingerprint_record(backbone(), "litert"),
        fingerprint_record(backbone(), "keras"),
        fingerprint_record(backbone(), "keras", "gpu H100"),
    ]
    monkeypatch.setattr(resize, "SPEC", "another decoder")
    found.append(fingerprint_record(backbone(), "litert"))
    assert all(a != b for index, a in enumerate(found) for b in found[:index])


def test_large_networks_get_fewer_interpreters_that_share_the_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sysconf", lambda name: 1 << 16)  # 4 GiB of memory
    assert interpreters(10_000_000, 4) == (4, 1)
    assert interpreters(200_000_000, 8) == (2, 4)
    assert interpreters(4_000_000_000, 3) == (1, 3)
    assert interpreters(0, 1) == (1, 1)


def test_the_fingerprint_needs_no_tensorflow() -> None:
    code = (
        "import sys; import headstart.features.extraction; "
        "print([m for m in ('tensorflow', 'keras', 'ai_edge_litert') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "[]\n"
