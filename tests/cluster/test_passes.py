"""The driver, with workers that do exactly one thing wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart._utils.errors import HeadstartError
from headstart._utils.files import md5_file
from headstart.cluster import passes as passes_module
from headstart.cluster import task, workers
from headstart.cluster.passes import ClusterPasses
from headstart.cluster.workers import LostError, Patience, Pending, SchedulerLostError
from headstart.features.store import FeatureStore
from tests.cluster import made

QUICK = Patience(first=0.3, answer=0.3, workers=1.0)
#: What a worker does with a task: returns the answer, raises, or returns None for silence.
Behavior = Callable[["Cluster", str, Any, tuple[Any, ...]], Any]


class Held:
    """A task whose result is there."""

    def __init__(self, result: Any) -> None:
        self.result = result
        self.released = False

    def outcome(self, timeout: float) -> Any:
        assert timeout > 0
        assert not self.released, "a result is fetched before it is released"
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def release(self) -> None:
        self.released = True


class Cluster:
    """Workers in this thread: a task ends as soon as it is submitted, unless it never does."""

    name = "tcp://fake:1"
    remedy = "Start a worker"

    def __init__(self, **behaviors: Behavior) -> None:
        self.behaviors = behaviors
        self.connected = dict.fromkeys(behaviors, 1)
        self.tasks: list[tuple[str, Any, tuple[Any, ...]]] = []
        self.held: list[tuple[Held, Callable[[Pending], None], Any, tuple[Any, ...]]] = []
        self.lost = False

    def threads(self) -> Mapping[str, int]:
        if self.lost:
            raise SchedulerLostError("it was killed")
        return dict(self.connected)

    def submit(
        self, worker: str, ended: Callable[[Pending], None], function: Any, *arguments: Any
    ) -> Pending:
        self.tasks.append((worker, function, arguments))
        held = Held(None)
        try:
            held.result = self.behaviors[worker](self, worker, function, arguments)
        except (OSError, MemoryError, LostError, HeadstartError, KeyError) as error:
            held.result = error
        if held.result is None:
            self.held.append((held, ended, function, arguments))
        else:
            ended(held)
        return held

    def items(self) -> list[str]:
        """The images of all tasks, as often as they were given."""
        return [
            item["image_id"]
            for _, function, arguments in self.tasks
            if function is task.compute
            for item in arguments[1]
        ]


def good(cluster: Cluster, worker: str, function: Any, arguments: tuple[Any, ...]) -> Any:
    return function(*arguments)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_PERIOD", 0.0)
    monkeypatch.setattr(passes_module, "_TICK", 0.01)
    task._ready.clear()
    task._networks.clear()


@pytest.fixture(scope="module")
def expected(network: Path, images: made.Images, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The SHA-256 of the features that one process computes."""
    return made.extracted(network, images, tmp_path_factory.mktemp("one"))[1]


def run(
    cluster: Cluster, network: Path, images: made.Images, folder: Path, patience: Patience = QUICK,
    remote: str | None = None,
) -> tuple[Any, str]:  # fmt: skip
    way = ClusterPasses(lambda: cluster, images.folder, made.VERSIONS, patience, remote)
    return made.extracted(network, images, folder, way)


def test_two_good_workers_give_the_bits_of_one_process(
    network: Path, images: made.Images, tmp_path: Path, expected: str
) -> None:
    cluster = Cluster(a=good, b=good)
    passes, digest = run(cluster, network, images, tmp_path)
    assert digest == expected
    assert passes.done == 60
    assert passes.computed is not None
    assert passes.computed.workers == 2
    assert 60 < passes.computed.passes <= 62, "a sample of each worker is computed a second time"
    assert passes.computed.unanswered == passes.computed.withdrawn == 0
    assert sorted(cluster.items()) == sorted(images.rows["image_id"])
    assert "60 passed through the backbone" in str(passes)
    assert "Computed by 2 workers" in str(passes)


def test_views_have_the_same_bits_too(network: Path, images: made.Images, tmp_path: Path) -> None:
    few = dataclasses.replace(images, rows=images.rows[:10])
    views = made.views()
    way = ClusterPasses(lambda: Cluster(a=good), few.folder, made.VERSIONS, QUICK)
    passes, digest = made.extracted(network, few, tmp_path / "cluster", way, views)
    alone, one = made.extracted(network, few, tmp_path / "one", views=views)
    assert digest == one
    assert passes.done == alone.done == 20


def test_images_go_by_reference_and_results_are_released(
    network: Path, images: made.Images, tmp_path: Path
) -> None:
    cluster = Cluster(a=good)
    released: list[Any] = []
    submit = cluster.submit

    def watched(worker: str, ended: Any, function: Any, *arguments: Any) -> Any:
        held = submit(worker, ended, function, *arguments)
        released.append(held)
        return held

    cluster.submit = watched  # type: ignore[method-assign]
    run(cluster, network, images, tmp_path)
    assert all(held.released for held in released)
    for _, function, (_, items) in cluster.tasks:
        assert function is task.compute
        assert all(item["content"] is None and item["place"] for item in items)


def test_nothing_missing_connects_to_nothing(
    network: Path, images: made.Images, tmp_path: Path, expected: str
) -> None:
    made.extracted(network, images, tmp_path)

    def connect() -> Any:
        raise AssertionError("there is nothing to compute")

    way = ClusterPasses(connect, images.folder, made.VERSIONS, QUICK)
    passes, digest = made.extracted(network, images, tmp_path, way)
    assert (passes.done, passes.cached, digest) == (0, 60, expected)


def after(count: int, then: Behavior) -> Behavior:
    """A good worker for some tasks, and then another one."""
    calls = 0

    def behavior(cluster: Cluster, worker: str, function: Any, arguments: tuple[Any, ...]) -> Any:
        nonlocal calls
        calls += 1
        return (good if calls <= count else then)(cluster, worker, function, arguments)

    return behavior


def dies(cluster: Cluster, worker: str, function: Any, arguments: tuple[Any, ...]) -> Any:
    cluster.connected.pop(worker, None)


def silent(cluster: Cluster, worker: str, function: Any, arguments: tuple[Any, ...]) -> Any:
    return None


def loses(cluster: Cluster, worker: str, function: Any, arguments: tuple[Any, ...]) -> Any:
    raise LostError("cancelled")


def test_a_worker_that_ends_costs_its_own_chunks(
    network: Path, images: made.Images, tmp_path: Path, expected: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    passes, digest = run(Cluster(a=good, b=after(2, dies)), network, images, tmp_path)
    assert digest == expected
    assert passes.computed.unanswered > 0
    assert "Worker b has ended" in capsys.readouterr().err


def test_a_silent_worker_costs_its_own_chunks(
    network: Path, images: made.Images, tmp_path: Path, expected: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    cluster = Cluster(a=good, b=after(2, silent))
    passes, digest = run(cluster, network, images, tmp_path)
    assert digest == expected
    assert 0 < passes.computed.unanswered == len(cluster.items()) - 60
    assert "Worker b has not answered for" in capsys.readouterr().err


def test_a_late_answer_is_not_accepted_twice(
    network: Path, images: made.Images, tmp_path: Path, expected: str
) -> None:
    """A silent worker answers just before the one that was given its chunk."""

    def late(cluster: Cluster, worker: str, function: Any, arguments: tuple[Any, ...]) -> Any:
        given = cluster.items()
        if len(given) > len(set(given)):
            for held, ended, task_of, old in cluster.held:
                held.result = task_of(*old)
                ended(held)
            cluster.held.clear()
        return good(cluster, worker, function, arguments)

    cluster = Cluster(a=late, b=after(1, silent))
    passes, digest = run(cluster, network, images, tmp_path)
    assert digest == expected
    assert passes.done == 60
    assert not cluster.held
    assert passes.computed.workers == 2
    assert passes.computed.passes + passes.computed.unanswered >= len(cluster.items()) > 60


def test_lost_tasks_are_given_again(
    network: Path, images: made.Images, tmp_path: Path, expected: str
) -> None:
    calls = iter([True, False, True] + [False] * 100)

    def flickers(cluster: Cluster, worker: str, function: Any, arguments: tuple[Any, ...]) -> Any:
        return (loses if next(calls) else good)(cluster, worker, function, arguments)

    passes, digest = run(Cluster(a=flickers), network, images, tmp_path)
    assert digest == expected
    assert passes.computed.unanswered > 0


def altered(change: Callable[[np.ndarray], np.ndarray]) -> Behavior:
    def behavior(cluster: Cluster, worker: str, function: Any, arguments: tuple[Any, ...]) -> Any:
        answer = good(cluster, worker, function, arguments)
        return {**answer, "features": change(answer["features"])}

    return behavior


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            lambda found: np.nextafter(found, np.float32(np.inf)),
            "differ from those of this machine",
        ),
        (lambda found: found[:, :-1], r"its features have the shape"),
        (lambda found: found.astype(np.float64), "holds no float32 features"),
        (lambda found: found * np.float32(np.nan), "are not finite"),
    ],
)
def test_wrong_features_are_never_accepted(
    network: Path, images: made.Images, tmp_path: Path, expected: str, change: Any, what: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    passes, digest = run(Cluster(a=good, b=altered(change)), network, images, tmp_path)
    assert digest == expected
    assert passes.computed.workers == 1
    assert what in capsys.readouterr().err


def test_what_a_wrong_worker_gave_before_is_computed_again(
    network: Path, images: made.Images, tmp_path: Path, expected: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(passes_module, "SAMPLE", 8)
    off_by_one_bit = altered(lambda found: np.nextafter(found, np.float32(np.inf)))
    cluster = Cluster(a=good, b=after(2, off_by_one_bit))
    passes, digest = run(cluster, network, images, tmp_path)
    assert digest == expected
    assert passes.computed.withdrawn >= 4
    assert "that it gave before are computed again" in capsys.readouterr().err
    assert f"{passes.computed.withdrawn} were taken back" in str(passes)


def test_a_worker_that_fails_is_replaced_by_this_process(
    network: Path, images: made.Images, tmp_path: Path, expected: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def fails(cluster: Cluster, worker: str, function: Any, arguments: tuple[Any, ...]) -> Any:
        raise MemoryError("no room")

    _, digest = run(Cluster(a=good, b=fails), network, images, tmp_path)
    assert digest == expected
    assert "it failed: MemoryError: no room" in capsys.readouterr().err


def test_an_image_that_cannot_be_computed_is_named(
    network: Path, images: made.Images, tmp_path: Path
) -> None:
    rows = images.rows.copy()
    path = rows["path"].tolist()[30]
    rows["offset"] += rows["path"] == path
    with pytest.raises(HeadstartError, match=f"The image '{path}'"):
        run(Cluster(a=good), network, made.Images(images.folder, rows), tmp_path)


def test_a_worker_without_the_files_is_sent_them(
    network: Path, images: made.Images, tmp_path: Path, expected: str
) -> None:
    cluster = Cluster(a=far)
    _, digest = run(cluster, network, images, tmp_path)
    assert digest == expected
    assert [f for _, f, _ in cluster.tasks].count(task.keep) == 1
    sent = [a[1] for _, f, a in cluster.tasks if f is task.compute]
    assert all(item["content"] is not None for items in sent[2:] for item in items)


def far(cluster: Cluster, worker: str, function: Any, arguments: tuple[Any, ...]) -> Any:
    """Compute without the driver's files."""
    if function is task.compute:
        job, items = arguments
        arguments = ({**job, "network": "/nowhere/n.tflite", "images": "/nowhere"}, items)
    return good(cluster, worker, function, arguments)


def given(cluster: Cluster) -> list[bool]:
    """Return for each task that was answered whether it was sent the images' bytes."""
    tasks = [a[1] for _, function, a in cluster.tasks if function is task.compute]
    return [all(item["content"] is not None for item in items) for items in tasks]


def test_a_worker_without_the_files_reads_the_shards_of_a_remote_by_range(
    s3: Any, network: Path, images: made.Images, tmp_path: Path, expected: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    pushed = {
        f"files/md5/{md5[:2]}/{md5[2:]}": path.read_bytes()
        for path in images.folder.iterdir()
        for md5 in [md5_file(path)]
    }
    remote = s3.place(pushed, "dvc")
    cluster = Cluster(a=far)
    assert run(cluster, network, images, tmp_path, remote=remote.url)[1] == expected
    assert not any(given(cluster))
    read = {each.removeprefix("/") for each in s3.gets()}
    assert read <= {f"{remote.bucket}/dvc/{path}" for path in pushed}
    assert read

    unpushed = Cluster(a=far)
    elsewhere = f"s3://{remote.bucket}/nothing-here"
    found = run(unpushed, network, images, tmp_path / "again", remote=elsewhere)
    assert found[1] == expected
    assert given(unpushed)[-1]
    said = capsys.readouterr().err
    assert "Worker a is sent images, because: The shard" in said
    assert "`dvc push data/images` writes what the remote lacks" in said


def test_a_worker_of_other_versions_is_refused(
    network: Path, images: made.Images, tmp_path: Path
) -> None:
    wrong = {**made.VERSIONS, "numpy": "1.0", "no-such-package": "2.0"}
    way = ClusterPasses(lambda: Cluster(a=good, b=good), images.folder, wrong, QUICK)
    with pytest.raises(HeadstartError) as caught:
        made.extracted(network, images, tmp_path, way)
    message = str(caught.value)
    assert "No worker of the cluster tcp://fake:1 may compute" in message
    assert "instead of 1.0" in message
    assert "no-such-package (not installed) instead of 2.0" in message
    assert "HEADSTART_CLUSTER=none" in message


def test_no_worker_comes(
    network: Path, images: made.Images, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(HeadstartError, match=r"has answered for 0 s\. 0 of 60 features"):
        run(Cluster(), network, images, tmp_path, Patience(workers=0.2))
    assert "Waiting for a worker of the cluster tcp://fake:1. Start a worker." in (
        capsys.readouterr().err
    )


def test_the_scheduler_is_lost_and_what_was_committed_is_kept(
    network: Path, images: made.Images, tmp_path: Path, expected: str
) -> None:
    def ends(cluster: Cluster, worker: str, function: Any, arguments: tuple[Any, ...]) -> Any:
        cluster.lost = True

    with pytest.raises(HeadstartError) as caught:
        run(Cluster(a=after(3, ends)), network, images, tmp_path)
    assert "The scheduler of the cluster tcp://fake:1 has ended" in str(caught.value)
    kept = int(str(caught.value).split(" of 60 features")[0].split()[-1])
    assert kept >= 4
    cluster = Cluster(a=good)
    passes, digest = run(cluster, network, images, tmp_path)
    assert (passes.cached, passes.done, digest) == (kept, 60 - kept, expected)


def test_an_interrupt_keeps_what_was_committed(
    network: Path, images: made.Images, tmp_path: Path
) -> None:
    cluster = Cluster(a=good)
    submit = cluster.submit

    def interrupted(worker: str, ended: Any, function: Any, *arguments: Any) -> Any:
        if len(cluster.tasks) == 4:
            raise KeyboardInterrupt
        return submit(worker, ended, function, *arguments)

    cluster.submit = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        run(cluster, network, images, tmp_path)
    shape = (256,)
    with FeatureStore(made.record(network), shape, tmp_path) as store:
        assert store.passes == len(store.keys()) >= 4


def test_two_chunks_in_flight_for_each_worker_and_one_until_it_is_known(
    network: Path, images: made.Images, tmp_path: Path
) -> None:
    flying: dict[str, int] = {}
    most: dict[str, list[int]] = {"a": []}

    class Counted(Cluster):
        def submit(self, worker: str, ended: Any, function: Any, *arguments: Any) -> Any:
            flying[worker] = flying.get(worker, 0) + 1
            most[worker].append(flying[worker])
            held = super().submit(worker, lambda _: None, function, *arguments)
            outcome = held.outcome

            def fetched(timeout: float) -> Any:
                flying[worker] -= 1
                return outcome(timeout)

            held.outcome = fetched  # type: ignore[method-assign]
            ended(held)
            return held

    run(Counted(a=good), network, images, tmp_path)
    assert most["a"][0] == most["a"][1] == 1
    assert max(most["a"]) == 2
