"""Files are whole or absent, and the same content gives the same bytes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
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


def test_a_folder_is_replaced_atomically(tmp_path: Path) -> None:
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


def test_with_the_lock_a_number_that_another_process_has_now_is_swept_too(tmp_path: Path) -> None:
    reused = tmp_path / f".out.{os.getppid()}.part"
    reused.mkdir()
    mine = tmp_path / f".out.{os.getpid()}.part"
    mine.mkdir()
    elsewhere = tmp_path / f".other.{os.getppid()}.part"
    elsewhere.mkdir()
    files.sweep(tmp_path / "out", exclusive=True)
    assert names(tmp_path) == sorted([elsewhere.name, mine.name])


def test_temporary_folders_of_killed_processes_are_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    for left in (f"x-{gone.pid}-abc", f"x-{os.getppid()}-abc", f"y-{gone.pid}-abc"):
        (tmp_path / left / "sub").mkdir(parents=True)
    with files.temporary_folder("x") as folder:
        assert folder.name.startswith(f"x-{os.getpid()}-")
        assert not (tmp_path / f"x-{gone.pid}-abc").exists()
    assert names(tmp_path) == sorted([f"x-{os.getppid()}-abc", f"y-{gone.pid}-abc"])


def test_the_part_of_a_longer_name_is_not_swept(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    longer = tmp_path / f".images.csv.{gone.pid}.part"
    own = [tmp_path / f".images.{gone.pid}.part", tmp_path / f".images.old.{gone.pid}.part"]
    for path in (longer, *own):
        path.write_text("")
    files.sweep(tmp_path / "images")
    assert names(tmp_path) == [longer.name]


def test_a_folder_that_cannot_be_renamed_is_replaced_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").write_text("1")
    replace = Path.replace

    def on_overlay(self: Path, to: Path) -> Path:
        if self == target:
            raise OSError(errno.EXDEV, "Invalid cross-device link", str(self))
        return replace(self, to)

    monkeypatch.setattr(Path, "replace", on_overlay)
    with files.atomic_folder(target) as folder:
        (folder / "new").write_text("2")
    assert names(target) == ["new"]
    assert names(tmp_path) == ["out"]
