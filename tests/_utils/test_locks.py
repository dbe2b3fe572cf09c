"""Locks hold, say who holds them, and go nowhere that a link leads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headstart._utils import locks
from headstart._utils.errors import HeadstartError
from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(os.name != "posix", reason="locks are POSIX")

CODE = (
    "import sys\n"
    "from pathlib import Path\n"
    "from headstart._utils import locks\n"
    "with locks.exclusive_lock(Path(sys.argv[1]), 'held by {holder}, {not a field}'):\n"
    "    print('mine', flush=True)\n"
    "    sys.stdin.read()\n"
)


def taking(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CODE, str(path)], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_the_second_waits_says_for_whom_and_follows_a_killed_first(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with taking(path) as first, taking(tmp_path / "b.lock") as other:
        assert first.stdout
        assert first.stdout.readline() == "mine\n"
        assert other.stdout
        assert other.stdout.readline() == "mine\n"
        with taking(path) as second:
            assert second.stderr
            assert second.stderr.readline() == f"held by {first.pid}, {{not a field}}\n"
            first.kill()
            assert second.stdout
            assert second.stdout.readline() == "mine\n"
            assert path.read_text() == str(second.pid)
            second.communicate("")
        other.communicate("")


def test_a_link_instead_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "a.lock").symlink_to(victim)
    with (
        pytest.raises(HeadstartError, match="cannot be used"),
        locks.exclusive_lock(tmp_path / "a.lock", ""),
    ):
        pass
    assert victim.read_text() == "precious"


def test_the_folder_is_closed_to_others(private_store: Path) -> None:
    folder = locks.lock_folder()
    assert folder.is_relative_to(private_store)
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    assert locks.lock_folder().stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_folder_that_is_none_is_refused(private_store: Path, tmp_path: Path, kind: str) -> None:
    private_store.mkdir()
    place = private_store / f"locks-{os.getuid()}"
    if kind == "link":
        place.symlink_to(tmp_path, target_is_directory=True)
    else:
        place.touch()
    with pytest.raises(HeadstartError, match="cannot be used"):
        locks.lock_folder()


def test_a_folder_of_another_user_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = locks.lock_folder()
    user = os.getuid()
    mine.rename(mine.with_name(f"locks-{user + 1}"))
    monkeypatch.setattr(os, "getuid", lambda: user + 1)
    with pytest.raises(HeadstartError, match=f"belongs to user {user}"):
        locks.lock_folder()


def test_without_a_variable_it_is_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEADSTART_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert locks.lock_folder().parent == tmp_path / "cache" / "headstart"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locks.lock_folder().is_relative_to(tmp_path)
