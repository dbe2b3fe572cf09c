"""Files are whole or absent, and the same content gives the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart._utils import files
from tests.conftest import ROOT

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner),
    max_leaves=10,
)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    files.write_text(target, "old")
    with pytest.raises(RuntimeError), files.atomic_file(target) as file:
        file.write(b"new")
        raise RuntimeError
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_hard_link_to_the_old_file_keeps_its_content(tmp_path: Path) -> None:
    target, cached = tmp_path / "a.txt", tmp_path / "cache"
    files.write_text(target, "old")
    os.link(target, cached)
    files.write_text(target, "new")
    assert cached.read_text() == "old"


def test_a_failed_folder_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with files.atomic_folder(target) as folder:
        (folder / "x").write_text("1")
    with pytest.raises(RuntimeError), files.atomic_folder(target) as folder:
        (folder / "y").write_text("2")
        raise RuntimeError
    assert names(target) == ["x"]
    assert names(tmp_path) == ["out"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "out"
    for name in ("x", "y"):
        with files.atomic_folder(target) as folder:
            (folder / name).write_text("1")
    assert names(target) == ["y"]


def test_a_killed_writer_leaves_no_target(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from headstart._utils.files import atomic_file\n"
        "with atomic_file(Path(sys.argv[1])) as f:\n"
        "    f.write(b'half'); f.flush(); print('ready', flush=True); time.sleep(60)\n"
    )
    target = tmp_path / "a.npy"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(target)], cwd=ROOT, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.kill()
    assert not target.exists()


@given(JSON)
def test_json_is_canonical(value: object) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.json"
        files.write_json(path, value)
        first = path.read_bytes()
        files.write_json(path, files.read_json(path))
        assert path.read_bytes() == first
        assert first.endswith(b"\n")


def test_nan_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        files.write_json(tmp_path / "a.json", {"loss": float("nan")})


def test_a_tree_hash_sees_content_names_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "x").write_text("1")
    (folder / "a").write_text("2")
    before = files.sha256_tree(folder)
    os.utime(folder / "a", (time.time() - 1000, time.time() - 1000))
    assert files.sha256_tree(folder) == before
    (folder / "a").rename(folder / "c")
    assert files.sha256_tree(folder) != before


def test_what_a_killed_writer_left_is_swept_by_the_next(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    (tmp_path / f".a.json.{gone.pid}.part").write_text("half")
    (tmp_path / f".out.{gone.pid}.part").mkdir()
    living = tmp_path / f".a.json.{os.getppid()}.part"
    living.write_text("in work")
    files.write_json(tmp_path / "a.json", 1)
    with files.atomic_folder(tmp_path / "out"):
        pass
    assert names(tmp_path) == [living.name, "a.json", "out"]


@pytest.fixture
def settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose files count as old."""
    monkeypatch.setattr(files, "_YOUNG", 0)
    folder = tmp_path / "d"
    (folder / "b").mkdir(parents=True)
    (folder / "a").write_text("1")
    (folder / "b" / "x").write_text("2")
    time.sleep(0.05)  # The kernel's clock for files goes in steps.
    return folder


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    hashed = files.sha256_file

    def counting(path: Path) -> str:
        seen.append(path.name)
        return hashed(path)

    monkeypatch.setattr(files, "sha256_file", counting)
    return seen


def test_a_settled_folder_is_read_once(settled: Path, reads: list[str]) -> None:
    assert files.Snapshot(settled).holds()
    assert sorted(reads) == ["a", "x"]


def test_a_young_folder_is_read_again(tmp_path: Path, reads: list[str]) -> None:
    (tmp_path / "a").write_text("1")
    assert files.Snapshot(tmp_path / "a").holds()
    assert reads == ["a", "a"]


def test_a_touched_file_is_read_again(settled: Path, reads: list[str]) -> None:
    snapshot = files.Snapshot(settled)
    (settled / "a").touch()
    assert snapshot.holds()
    assert sorted(reads) == ["a", "a", "x", "x"]


@pytest.mark.skipif(os.name != "posix", reason="elsewhere, ctime is the time of creation")
def test_a_change_shows_though_the_time_is_set_back(settled: Path) -> None:
    file = settled / "b" / "x"
    before = file.stat()
    for path, text in ((settled, "3"), (file, "4")):
        snapshot = files.Snapshot(path)
        file.write_text(text)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert not snapshot.holds()
        time.sleep(0.05)


def test_what_comes_and_goes_shows(settled: Path) -> None:
    snapshot = files.Snapshot(settled)
    (settled / "new").touch()
    assert not snapshot.holds()
    (settled / "new").unlink()
    assert snapshot.holds()
    (settled / "a").unlink()
    assert not snapshot.holds()
    alone = files.Snapshot(settled / "b" / "x")
    (settled / "b" / "x").unlink()
    assert not alone.holds()


def test_a_file_that_becomes_readable_is_a_change(
    settled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(files, "sha256_file", refuse)
        snapshot = files.Snapshot(settled)
        assert snapshot.holds()
    (settled / "a").chmod(0o600)
    assert not snapshot.holds()


def test_windows_is_not_asked_whether_a_writer_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as over:
        pass
    assert not files._alive(over.pid)
    monkeypatch.setattr(os, "name", "nt")
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("it would send Ctrl-C"))
    assert files._alive(over.pid)
