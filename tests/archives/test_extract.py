from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from headstart._utils.errors import SourceError, UnsafeArchiveError
from headstart.archives.members import ArchiveLimits
from headstart.archives.tar import TarArchive
from tests.archives.made import HONEST, make_tar

LIMITS = ArchiveLimits(10_000_000, instead="look at it yourself")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_every_member_is_written_under_its_name(tmp_path: Path, mode: str) -> None:
    (tmp_path / "out").mkdir()
    TarArchive(make_tar(tmp_path / "a", mode=mode), LIMITS).extract(tmp_path / "out")
    found = {
        path.relative_to(tmp_path / "out").as_posix(): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert found == HONEST


def test_a_name_that_cannot_be_written_everywhere_is_refused(tmp_path: Path) -> None:
    odd = tarfile.TarInfo("a/b\x01.jpg")
    archive = TarArchive(make_tar(tmp_path / "a", more=[(odd, b"")]), LIMITS, "The module x")
    with pytest.raises(UnsafeArchiveError, match=r"The module x holds.*look at it yourself"):
        archive.extract(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_file_instead_of_a_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    archive = TarArchive(make_tar(tmp_path / "a", {"x": b"1", "x/y": b"2"}), LIMITS)
    with pytest.raises(SourceError, match="cannot be read as a tar file"):
        archive.extract(tmp_path / "out")
