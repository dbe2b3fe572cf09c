"""An input that changes while a stage runs is found, and no file is hashed without need."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from headstart._utils import stamps
from headstart._utils.errors import HeadstartError, InputChangedError
from headstart._utils.files import md5_file
from headstart.stage import inputs


@pytest.fixture
def settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose files count as old."""
    monkeypatch.setattr(stamps, "_YOUNG", 0)
    folder = tmp_path / "d"
    (folder / "b").mkdir(parents=True)
    (folder / "a").write_text("1")
    (folder / "b" / "x").write_text("2")
    time.sleep(0.05)  # The kernel's clock for files goes in steps.
    return folder


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    hashed = md5_file

    def counting(path: Path) -> str:
        seen.append(path.name)
        return hashed(path)

    monkeypatch.setattr(inputs, "md5_file", counting)
    return seen


def test_a_settled_folder_is_read_once(settled: Path, reads: list[str]) -> None:
    assert inputs.Snapshot(settled).holds()
    assert sorted(reads) == ["a", "x"]


def test_a_young_folder_is_read_again(tmp_path: Path, reads: list[str]) -> None:
    (tmp_path / "a").write_text("1")
    assert inputs.Snapshot(tmp_path / "a").holds()
    assert reads == ["a", "a"]


def test_a_touched_file_is_read_again(settled: Path, reads: list[str]) -> None:
    snapshot = inputs.Snapshot(settled)
    (settled / "a").touch()
    assert snapshot.holds()
    assert sorted(reads) == ["a", "a", "x"]


@pytest.mark.skipif(os.name != "posix", reason="elsewhere, ctime is the time of creation")
def test_a_change_shows_though_the_time_is_set_back(settled: Path) -> None:
    file = settled / "b" / "x"
    before = file.stat()
    for path, text in ((settled, "3"), (file, "4")):
        snapshot = inputs.Snapshot(path)
        file.write_text(text)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert not snapshot.holds()
        time.sleep(0.05)


def test_what_comes_and_goes_shows(settled: Path) -> None:
    snapshot = inputs.Snapshot(settled)
    (settled / "new").touch()
    assert not snapshot.holds()
    (settled / "new").unlink()
    assert snapshot.holds()
    (settled / "a").unlink()
    assert not snapshot.holds()
    alone = inputs.Snapshot(settled / "b" / "x")
    (settled / "b" / "x").unlink()
    assert not alone.holds()


def test_a_file_that_becomes_readable_is_a_change(
    settled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(inputs, "md5_file", refuse)
        snapshot = inputs.Snapshot(settled)
        assert snapshot.holds()
    (settled / "a").chmod(0o600)
    assert not snapshot.holds()


def test_an_absent_input_is_an_error(tmp_path: Path) -> None:
    for lazy in (False, True):
        absent, none = [tmp_path / "a"], list[Path]()
        with (
            pytest.raises(HeadstartError, match="does not exist"),
            inputs.unchanged(*((none, absent) if lazy else (absent, none))),
        ):
            pass


def test_lazy_files_are_hashed_when_they_are_first_opened(settled: Path, reads: list[str]) -> None:
    with inputs.unchanged([], [settled]):
        assert reads == []
        (settled / "a").read_text()
        assert reads == ["a"]
        descriptor = os.open(os.path.relpath(settled / "a"), os.O_RDONLY)
        os.close(descriptor)
        assert reads == ["a"]
    assert reads == ["a"]
    (settled / "b" / "x").read_text()
    assert reads == ["a"]


def test_a_lazy_file_that_changes_after_it_was_opened_fails(settled: Path) -> None:
    with pytest.raises(InputChangedError), inputs.unchanged([], [settled]):
        (settled / "b" / "x").read_text()
        (settled / "b" / "x").unlink()
        (settled / "b" / "x").write_text("3")
    with pytest.raises(InputChangedError), inputs.unchanged([], [settled / "a"]):
        (settled / "a").read_text()
        (settled / "a").unlink()


def test_a_lazy_file_that_is_not_read_may_change(settled: Path) -> None:
    with inputs.unchanged([], [settled]):
        (settled / "a").unlink()
        (settled / "new").write_text("")


def test_threads_wait_until_a_lazy_file_is_hashed(
    settled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed, done = md5_file, list[str]()

    def slow(path: Path) -> str:
        time.sleep(0.2)
        done.append(path.name)
        return hashed(path)

    def read() -> None:
        (settled / "a").read_text()
        order.append(list(done))

    order: list[list[str]] = []
    monkeypatch.setattr(inputs, "md5_file", slow)
    with inputs.unchanged([], [settled]):
        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert order == [["a"]] * 3


@pytest.mark.parametrize("lazy", [False, True])
def test_a_large_file_is_hashed_once_for_all_runs(
    settled: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch, *, lazy: bool
) -> None:
    monkeypatch.setattr(inputs, "_LARGE", 1)

    def run() -> list[str]:
        reads.clear()
        with inputs.unchanged([] if lazy else [settled], [settled] if lazy else []):
            (settled / "a").read_text()
            (settled / "b" / "x").read_text()
        return sorted(reads)

    assert run() == ["a", "x"]
    assert run() == []
    (settled / "a").touch()
    time.sleep(0.05)
    assert run() == ["a"]
    assert run() == []
    # What is known does not hide a change.
    with pytest.raises(InputChangedError), inputs.unchanged([settled]):
        before = (settled / "a").stat()
        (settled / "a").write_text("9")
        os.utime(settled / "a", ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_young_file_is_not_trusted_by_a_later_run(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "_LARGE", 1)
    (tmp_path / "a").write_text("1")
    for _ in range(2):
        with inputs.unchanged([tmp_path / "a"]):
            pass
    assert reads == ["a"] * 4


def test_a_damaged_or_unwritable_record_of_hashes_stops_nothing(
    settled: Path, private_store: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "_LARGE", 1)
    inputs.Snapshot(settled)
    (record,) = (private_store / "md5").iterdir()
    for damage in ("", "[]", "x" * 10_000):
        record.write_text(damage)
        reads.clear()
        assert inputs.Snapshot(settled).holds()
        assert sorted(reads) == ["a", "x"]
    record.unlink()
    record.parent.rmdir()
    record.parent.touch()
    assert inputs.Snapshot(settled).holds()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pipes in folders")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/a").write_text("a")
    os.mkfifo(tmp_path / "folder/pipe")
    with inputs.unchanged([tmp_path / "folder"]):
        pass
    assert inputs.Snapshot(tmp_path / "folder").hashes()["pipe"] == "unreadable"
