"""Names whose encoding the archive does not state: right, or refused, and never garbled."""

from __future__ import annotations

import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from headstart._utils.errors import SourceError, UnsafeArchiveError
from headstart.archives.archive import open_archive
from headstart.archives.encodings import ENCODINGS
from headstart.archives.members import ArchiveLimits
from tests.archives.made import make_tar

LIMITS = ArchiveLimits(1_000_000)


def zipped(path: Path, names: Sequence[bytes], unicode_paths: Sequence[bytes] = ()) -> Path:
    """Write members under raw names without flag bit 11, some with a Unicode Path field."""
    standing_in = [f"{number:02}".ljust(len(name), "_") for number, name in enumerate(names)]
    with zipfile.ZipFile(path, "w") as archive:
        for number, placeholder in enumerate(standing_in):
            member = zipfile.ZipInfo(placeholder)
            if number < len(unicode_paths):
                field = struct.pack("<BI", 1, zlib.crc32(names[number])) + unicode_paths[number]
                member.extra = struct.pack("<HHI", 0x5455, 4, 0)  # another one comes first
                member.extra += struct.pack("<HH", 0x7075, len(field)) + field
            archive.writestr(member, bytes([number]) * 5)
    content = path.read_bytes()
    for number, name in enumerate(names):
        content = content.replace(standing_in[number].encode(), name)
    path.write_bytes(content)
    return path


def names(path: Path, encoding: str | None = None) -> list[str]:
    archive = open_archive(path, LIMITS, encoding)
    found = dict(archive.contents({member.path for member in archive.members}))
    assert list(found.values()) == [bytes([number]) * 5 for number in range(len(found))]
    return list(found)


def test_utf_8_that_is_not_marked(tmp_path: Path) -> None:
    # Info-ZIP on Linux, and macOS, which writes letters in parts.
    for given in (["\u00c4pfel/0.jpg", "\u00d6l/0.jpg"], ["A\u0308pfel/0.jpg", "Birne/0.jpg"]):
        assert names(zipped(tmp_path / "a.zip", [name.encode() for name in given])) == given


def test_marked_utf_8_stays(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("\u00c4pfel/0.jpg", bytes(5))
    assert names(tmp_path / "a.zip") == ["\u00c4pfel/0.jpg"]
    assert names(tmp_path / "a.zip", "gb18030") == ["\u00c4pfel/0.jpg"]


def test_the_unicode_path_is_honored(tmp_path: Path) -> None:
    raw = [b"\x8epfel/0.jpg", b"\xc3\xa8/0.jpg"]
    path = zipped(tmp_path / "a.zip", raw, ["\u00c4pfel/0.jpg".encode(), "\u732b/0.jpg".encode()])
    assert names(path) == ["\u00c4pfel/0.jpg", "\u732b/0.jpg"]


def test_the_unicode_path_is_honored_where_letters_became_question_marks(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", [b"??/0.jpg", b"?/1.jpg"],
                  ["\u732b\u732b/0.jpg".encode(), "\u72d7/1.jpg".encode()])  # fmt: skip
    assert names(path) == ["\u732b\u732b/0.jpg", "\u72d7/1.jpg"]
    with pytest.raises(UnsafeArchiveError, match="leads out"):
        names(zipped(tmp_path / "b.zip", [b"cat/0.jpg"], [b"../../evil.jpg"]))


def test_a_unicode_path_of_another_name_is_not(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", ["\u00c4/0.jpg".encode()], [b"cat/0.jpg"])
    content = path.read_bytes()
    checksum = struct.pack("<I", zlib.crc32("\u00c4/0.jpg".encode()))
    path.write_bytes(content.replace(checksum, b"\0\0\0\0"))
    assert names(path) == ["\u00c4/0.jpg"]


def test_a_hostile_unicode_path_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", [b"\x8e/0.jpg"], [b"../../evil.jpg"])
    with pytest.raises(UnsafeArchiveError, match="leads out"):
        names(path)


# In GBK the first is correct UTF-8 by accident; the third holds a byte like a backslash.
CHINESE = ["\u732b/0.jpg", "\u72d7/0.jpg", "\u8a97/0.jpg"]


def test_another_encoding_is_refused_with_the_cure(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", [name.encode("gbk") for name in CHINESE])
    with pytest.raises(SourceError, match="does not state the encoding") as caught:
        names(path)
    said = str(caught.value)
    assert "`download.encoding: gb18030`  \u72d7/0.jpg" in said
    assert "utf-8`" not in said
    # Every encoding that is offered reads the archive, or says why it cannot.
    offered = re.findall("`download.encoding: ([^`]*)`", said)
    assert set(offered) < set(ENCODINGS)
    assert names(path, "gb18030") == CHINESE
    for encoding in offered:
        try:
            assert len(names(path, encoding)) == 3
        except UnsafeArchiveError as error:
            assert "backslash" in str(error)  # noqa: PT017 - most of them read it


def test_a_wrong_encoding_is_refused_too(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", [b"\xff\xff/0.jpg"])
    with pytest.raises(SourceError, match=r"not gb18030(.|\n)*`download.encoding: cp1251`"):
        names(path, "gb18030")
    assert names(path, "cp1252") == ["\xff\xff/0.jpg"]


def test_names_that_a_chosen_encoding_may_garble_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = ["\u00c4pfel/0.jpg".encode(), "\u00d6l/0.jpg".encode("latin-1"), b"Birne/0.jpg"]
    found = names(zipped(tmp_path / "a.zip", mixed), "cp1252")
    said = capsys.readouterr().err
    assert f"'\u00c4pfel/0.jpg' reads {found[0]!r}" in said
    assert "Warning: 1 of 2 names in The archive a.zip are also UTF-8" in said
    assert "`download.source: folder`" in said
    names(zipped(tmp_path / "b.zip", [mixed[1], mixed[2]]), "cp1252")
    assert not capsys.readouterr().err


@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
def test_every_encoding_of_the_table_exists(tmp_path: Path, encoding: str) -> None:
    assert "a".encode(encoding) == b"a"
    assert ENCODINGS[encoding]


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tar_files(tmp_path: Path, kind: int) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=kind, encoding="gbk") as archive:
        for name in CHINESE[:2]:
            archive.addfile(tarfile.TarInfo(name))
    members = open_archive(path, LIMITS, "gb18030").members
    assert [member.path for member in members] == CHINESE[:2]
    assert not any(member.fault for member in members)
    if kind == tarfile.PAX_FORMAT:
        assert [member.path for member in open_archive(path, LIMITS).members] == CHINESE[:2]
    else:
        with pytest.raises(SourceError, match=r"`download\.encoding: gb18030`"):
            open_archive(path, LIMITS)


def test_the_names_of_tar_files_that_are_not_of_the_encoding(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", {"\udcff\udcff/0.jpg": b"x"})
    with pytest.raises(SourceError, match="not gb18030"):
        open_archive(path, LIMITS, "gb18030")
