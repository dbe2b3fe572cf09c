"""dvc.lock in one order, and one run at a time."""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from dvc.utils.serialize import modify_yaml

from headstart._utils.errors import HeadstartError
from headstart.pipeline import graph, lockfile
from headstart.pipeline.graph import GraphError, locked
from tests.conftest import ROOT
from tests.runs import projects
from tests.runs.server import until

ODD = """\
schema: '2.0'
stages:
  '1':
    cmd: 'a: "b"
      folded'
  each@0.5:
    cmd: |-
      two lines

        and a blank one
    outs:
    - path: a
  plain:
    cmd: x
datasets:
- name: d
"""


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A lock file with odd records, as DVC writes it."""
    lock = tmp_path / "dvc.lock"
    lock.write_text(ODD)
    with modify_yaml(str(lock)):
        pass
    return lock


def test_records_move_whole_and_come_back(odd: Path) -> None:
    shutil.copy(ROOT / "dvc.lock", odd.with_name("own.lock"))
    for lock in (odd, odd.with_name("own.lock")):
        text, names = lock.read_text(), lockfile.names(lock)
        assert len(names) >= 3
        lockfile.arrange(lock, names[::-1])
        assert lockfile.names(lock) == names[::-1]
        assert sorted(lock.read_text()) == sorted(text)
        lockfile.arrange(lock, names)
        assert lock.read_text() == text


def test_the_first_place_counts_and_what_is_not_asked_for_stays_behind(odd: Path) -> None:
    lockfile.arrange(odd, ["plain", "1", "plain", "no such"])
    assert lockfile.names(odd) == ["plain", "1", "each@0.5"]
    assert odd.read_text().endswith("datasets:\n- name: d\n")


@pytest.mark.parametrize("text", ["", "schema: '2.0'\n", "stages: {}\n", "stages:\n    b: 1\n"])
def test_what_has_no_order_stays_as_it_is(text: str, tmp_path: Path) -> None:
    lock = tmp_path / "dvc.lock"
    lockfile.arrange(lock, ["a"])
    assert not lock.exists()
    lock.write_text(text)
    lockfile.arrange(lock, ["a"])
    assert lock.read_text() == text


CROSSED = """
stages:
  last:
    cmd: cat b.txt a.txt > last.txt
    deps: [b.txt, a.txt]
    outs: [last.txt]
  a:
    cmd: echo a > a.txt
    outs: [a.txt]
  b:
    cmd: echo b > b.txt
    outs: [b.txt]
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    projects.call(folder, "git", "init", "-q")
    projects.dvc(folder, "init", "-q")
    (folder / "dvc.yaml").write_text(CROSSED)
    (folder / "sub").mkdir()
    (folder / "sub" / "dvc.yaml").write_text(
        "stages: {far: {cmd: cp ../last.txt far.txt, deps: [../last.txt], outs: [far.txt]}}"
    )
    projects.dvc(folder, "repro", "--all-pipelines", "--quiet")
    return folder


def test_the_sequence_is_that_of_dvc(project: Path) -> None:
    wanted = graph.sequence(project)
    assert set(wanted) == {"dvc.lock", "sub/dvc.lock"}
    for file, names in wanted.items():
        assert lockfile.names(project / file) == list(names)
    assert wanted["dvc.lock"] == ("b", "a", "last")  # not the order of dvc.yaml


def test_new_records_are_put_in_order_and_old_ones_keep_their_places(project: Path) -> None:
    lock = project / "dvc.lock"
    text = lock.read_text()
    lockfile.arrange(lock, ["last", "b", "a"])
    other = lock.read_text()
    with lockfile.in_order(project):
        pass
    assert lock.read_text() == other
    lock.unlink()
    with pytest.raises(KeyboardInterrupt), lockfile.in_order(project):
        lock.write_text(other)
        lock.chmod(0o640)
        raise KeyboardInterrupt
    assert lock.read_text() == text
    assert lock.stat().st_mode & 0o777 == 0o640


def test_a_second_run_says_who_is_at_work_and_waits(project: Path) -> None:
    said: list[str] = []
    stop, inside, leave = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        with lockfile.exclusive_run(project, "flow run 'tidy-owl'", said.append, stop):
            inside.set()
            leave.wait(60)

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(60)

    def second_may_go(sentence: str) -> None:
        said.append(sentence)
        leave.set()

    with lockfile.exclusive_run(project, "flow run 'b'", second_may_go, stop):
        thread.join()
    who = f"process {os.getpid()}, flow run 'tidy-owl'"
    assert said == [f"Another run is at work here ({who}). Waiting for it to end …"]


def wait_in_another_thread(project: Path, stop: threading.Event) -> None:
    """Try to hold the project, as another run would; a thread that holds a lock may not wait."""
    with ThreadPoolExecutor() as pool:
        second = lockfile.exclusive_run(project, "b", lambda _: None, stop)
        pool.submit(second.__enter__).result()


def test_waiting_can_be_ended(project: Path) -> None:
    stop = threading.Event()
    with lockfile.exclusive_run(project, "a", print, stop):
        stop.set()
        with pytest.raises(HeadstartError, match="Nothing was run"):
            wait_in_another_thread(project, stop)


def test_a_folder_that_is_no_project_stays_one(tmp_path: Path) -> None:
    with pytest.raises(HeadstartError, match="is not a Headstart project"):
        lockfile.exclusive_run(tmp_path, "a", print, threading.Event()).__enter__()
    assert not any(tmp_path.iterdir())


def test_the_holder_of_the_lock_of_dvc(project: Path) -> None:
    assert lockfile.holder(project) is None
    with locked(project, wait=True):
        assert lockfile.holder(project) == os.getpid()
    assert lockfile.holder(project) is None
    assert lockfile.holder(project / "nowhere") is None


def test_who_does_not_want_to_wait_for_dvc_does_not(project: Path) -> None:
    with (project / ".dvc" / "tmp" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(GraphError, match="lock"), locked(project, wait=False):
            pass
    until(lambda: lockfile.holder(project) is None, 20, "the lock is free")
