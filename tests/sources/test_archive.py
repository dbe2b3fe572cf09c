from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart._utils.errors import ImageError, SourceError, UnsafeArchiveError
from headstart.archives.members import ArchiveLimits
from headstart.sources.archive import ArchiveSource
from tests.archives.made import HONEST, make_tar, make_zip

BOUNDS = ArchiveLimits(max_total_bytes=200_000_000)


def opened(path: Path, bounds: ArchiveLimits = BOUNDS) -> dict[str, bytes | ImageError]:
    source = ArchiveSource(path, None, bounds)
    contents = dict(source.contents({entry.path for entry in source.entries}))
    assert set(contents) == {entry.path for entry in source.entries}
    return contents


MAKERS: dict[str, Callable[[Path], Path]] = {
    "zip": make_zip,
    "deflated.zip": lambda path: make_zip(path, method=zipfile.ZIP_DEFLATED),
    "tar": make_tar,
    "tar.gz": lambda path: make_tar(path, mode="w:gz"),
    "tar.bz2": lambda path: make_tar(path, mode="w:bz2"),
    "tar.xz": lambda path: make_tar(path, mode="w:xz"),
}


@pytest.mark.parametrize("kind", sorted(MAKERS))
def test_every_kind_gives_the_same_files(tmp_path: Path, kind: str) -> None:
    # By content: the name says nothing.
    assert opened(MAKERS[kind](tmp_path / "pets.data")) == HONEST


def test_old_tars_and_steps_that_lead_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "old.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in HONEST.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    assert opened(path) == HONEST


def test_several_compressed_streams_are_one_file(tmp_path: Path) -> None:
    plain = make_tar(tmp_path / "a").read_bytes()
    for pack in (bz2.compress, gzip.compress):
        path = tmp_path / "b"
        path.write_bytes(pack(plain[:700]) + pack(plain[700:]))
        assert opened(path) == HONEST


def test_only_the_wanted_are_read(tmp_path: Path) -> None:
    wanted = {"Pets/dog/1.jpg"}
    for path in (make_zip(tmp_path / "a"), make_tar(tmp_path / "b", mode="w:gz")):
        assert set(dict(ArchiveSource(path, None, BOUNDS).contents(wanted))) == wanted


def test_the_sha256_is_checked_first(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip")
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    ArchiveSource(path, right, BOUNDS)
    with pytest.raises(SourceError) as caught:
        ArchiveSource(path, "0" * 64, BOUNDS)
    assert right in str(caught.value)
    assert "0" * 64 in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "not an archive"), (b"hello", "not an archive"), (b"Rar!\x1a\x07\x01\0", "rar"),
     (b"7z\xbc\xaf\x27\x1c\0\4", "7z")],
)  # fmt: skip
def test_what_is_no_archive(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=said):
        ArchiveSource(path, None, BOUNDS)
    with pytest.raises(SourceError, match="not a file"):
        ArchiveSource(tmp_path, None, BOUNDS)


@pytest.mark.parametrize("kind", sorted(MAKERS))
def test_an_archive_that_is_cut_short(tmp_path: Path, kind: str) -> None:
    path = MAKERS[kind](tmp_path / "a")
    content = path.read_bytes()
    for part in (0.3, 0.6):
        path.write_bytes(content[: int(len(content) * part)])
        with pytest.raises(SourceError, match="cannot be read"):
            opened(path)


def test_a_damaged_tar_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a")
    content = bytearray(path.read_bytes())
    place = content.index(b"Pets/dog/1.jpg")
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(SourceError, match="damaged"):
        opened(path)


def test_a_flipped_bit_in_a_gzip_shows_by_its_checksum(tmp_path: Path) -> None:
    stored = io.BytesIO()
    with gzip.GzipFile(fileobj=stored, mode="wb", compresslevel=0, mtime=0) as packed:
        packed.write(make_tar(tmp_path / "a").read_bytes())
    content = bytearray(stored.getvalue())
    content[content.index(HONEST["Pets/cat/1.jpg"]) + 300] ^= 1
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(SourceError, match="cannot be read"):
        opened(tmp_path / "a")


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_whatever_is_damaged_only_a_message_comes_out(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged"
    kind = data.draw(st.sampled_from(sorted(MAKERS)))
    content = bytearray(MAKERS[kind](path).read_bytes())
    # Headers are where it hurts: of tar at the start of each block, of zip at the end.
    places = st.integers(0, len(content) - 1) | st.integers(
        max(0, len(content) - 700), len(content) - 1
    )
    for place in data.draw(st.lists(places | st.integers(0, 511), min_size=1, max_size=6)):
        content[place] = data.draw(st.sampled_from([0, 255, 47, 48, 55]) | st.integers(0, 255))
    path.write_bytes(content)
    try:
        opened(path)
    except SourceError as error:
        assert str(error)  # noqa: PT017 - an intact archive is as good


# Names


BAD_NAMES = ["/etc/passwd", "../up.jpg", "a/../../up.jpg", "C:/x.jpg", "a\\..\\b.jpg", "..", "a/.."]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    maker = make_zip if kind == "zip" else make_tar
    path = maker(tmp_path / "a", {**HONEST, name: b"x"})
    with pytest.raises(UnsafeArchiveError, match="refused"):
        ArchiveSource(path, None, BOUNDS)


def test_a_name_with_nul_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a", {**HONEST, "Pets/cat/hidden_jpg": b"x"})
    path.write_bytes(path.read_bytes().replace(b"hidden_jpg", b"hidden\0jpg"))
    with pytest.raises(UnsafeArchiveError, match="no usable name"):
        ArchiveSource(path, None, BOUNDS)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("again", ["Pets/cat/0.jpg", "./Pets//cat/0.jpg"])
def test_the_same_member_twice_is_refused(tmp_path: Path, again: str) -> None:
    path = make_zip(tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(again, b"another")
    with pytest.raises(UnsafeArchiveError, match="twice"):
        ArchiveSource(path, None, BOUNDS)
    member = tarfile.TarInfo(again)
    with pytest.raises(UnsafeArchiveError, match="twice"):
        ArchiveSource(make_tar(tmp_path / "a.tar", more=[(member, b"")]), None, BOUNDS)


def test_names_that_no_manifest_can_hold_are_rejected(tmp_path: Path) -> None:
    odd = {**HONEST, "Pets/cat/a\nb.jpg": b"x", "Pets/cat/\udcff.jpg": b"x"}
    source = ArchiveSource(make_tar(tmp_path / "a", odd), None, BOUNDS)
    refused = {entry.path: entry.rejection for entry in source.entries if entry.rejection}
    assert {path: refusal[0] for path, refusal in refused.items()} == {
        "Pets/cat/a\\x0ab.jpg": "bad_name",
        "Pets/cat/\\xff.jpg": "bad_name",
    }


# Kinds of members


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE,
     tarfile.GNUTYPE_SPARSE, b"Z"],
)  # fmt: skip
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_tar_members_that_are_no_files(tmp_path: Path, kind: bytes, mode: str) -> None:
    member = tarfile.TarInfo("Pets/cat/odd.jpg")
    member.type = kind
    member.linkname = "/etc/passwd"
    path = make_tar(tmp_path / "a", mode=mode, more=[(member, b"")])
    with pytest.raises(UnsafeArchiveError, match=r"is a link|not a regular file"):
        ArchiveSource(path, None, BOUNDS)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_zip_members_that_are_no_files(tmp_path: Path, kind: int) -> None:
    path = make_zip(tmp_path / "a.zip")
    member = zipfile.ZipInfo("Pets/cat/odd.jpg")
    member.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(member, b"/etc/passwd")
    with pytest.raises(UnsafeArchiveError, match=r"is a link|neither a file"):
        ArchiveSource(path, None, BOUNDS)


def test_folders_are_no_files(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("Pets/empty/", b"")
    assert opened(path) == HONEST
    member = tarfile.TarInfo("Pets/empty")
    member.type = tarfile.DIRTYPE
    assert opened(make_tar(tmp_path / "a.tar", more=[(member, b"")])) == HONEST


# Zip files that lie: edits of the table of contents (PK\1\2) and of the member's header (PK\3\4).


def edited(path: Path, name: str, place: int, value: bytes) -> Path:
    """Overwrite a field of a member's row in the table of contents."""
    content = bytearray(path.read_bytes())
    row = content.rindex(name.encode()) - 46
    assert content[row : row + 4] == b"PK\1\2"
    content[row + place : row + place + len(value)] = value
    path.write_bytes(content)
    return path


NAME = "Pets/cat/1.jpg"
FLAGS, PACKED, UNPACKED, OFFSET, METHOD, CRC = 8, 20, 24, 42, 10, 16


@pytest.mark.parametrize("flag", [0x1, 0x41, 0x2001])
def test_encrypted_members(tmp_path: Path, flag: int) -> None:
    path = edited(make_zip(tmp_path / "a"), NAME, FLAGS, struct.pack("<H", flag))
    with pytest.raises(UnsafeArchiveError, match="encrypted"):
        ArchiveSource(path, None, BOUNDS)


@pytest.mark.parametrize("size", [1, 100_000])
def test_a_stored_member_with_two_sizes(tmp_path: Path, size: int) -> None:
    path = edited(make_zip(tmp_path / "a"), NAME, UNPACKED, struct.pack("<I", size))
    with pytest.raises(UnsafeArchiveError, match="sizes"):
        ArchiveSource(path, None, BOUNDS)


def test_a_deflated_member_that_unpacks_to_more(tmp_path: Path) -> None:
    files = {**HONEST, NAME: b"ab" * 5000}
    path = make_zip(tmp_path / "a", files, zipfile.ZIP_DEFLATED)
    edited(path, NAME, UNPACKED, struct.pack("<I", 9000))
    with pytest.raises(UnsafeArchiveError, match="unpacks to more"):
        opened(path)


def test_a_deflated_member_that_unpacks_to_less_is_corrupt(tmp_path: Path) -> None:
    files = {**HONEST, NAME: b"ab" * 5000}
    path = make_zip(tmp_path / "a", files, zipfile.ZIP_DEFLATED)
    edited(path, NAME, UNPACKED, struct.pack("<I", 10_001))
    fault = opened(path)[NAME]
    assert isinstance(fault, ImageError)
    assert fault.reason == "corrupt"


def test_a_wrong_checksum_is_corrupt(tmp_path: Path) -> None:
    fault = opened(edited(make_zip(tmp_path / "a"), NAME, CRC, b"\0\0\0\0"))[NAME]
    assert isinstance(fault, ImageError)
    assert fault.reason == "corrupt"


def test_an_unknown_method_is_reported(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a", method=zipfile.ZIP_LZMA)
    with pytest.raises(SourceError, match="method 14"):
        ArchiveSource(path, None, BOUNDS)


def test_members_that_share_their_bytes(tmp_path: Path) -> None:
    path = edited(make_zip(tmp_path / "a"), NAME, OFFSET, struct.pack("<I", 0))
    with pytest.raises(UnsafeArchiveError, match="overlaps"):
        ArchiveSource(path, None, BOUNDS)


def test_a_member_beyond_the_table(tmp_path: Path) -> None:
    path = edited(make_zip(tmp_path / "a"), NAME, OFFSET, struct.pack("<I", 900_000))
    with pytest.raises(SourceError, match="damaged"):
        ArchiveSource(path, None, BOUNDS)


# Bombs


def test_a_zip_bomb_is_refused_unread(tmp_path: Path) -> None:
    files = {**HONEST, "Pets/cat/bomb.bmp": bytes(30_000_000)}
    path = make_zip(tmp_path / "a", files, zipfile.ZIP_DEFLATED)
    with pytest.raises(UnsafeArchiveError, match="bomb"):
        ArchiveSource(path, None, BOUNDS)


def test_many_small_bombs_are_one(tmp_path: Path) -> None:
    files = {f"Pets/cat/{number}.bmp": bytes(2_000_000) for number in range(10)}
    path = make_zip(tmp_path / "a", files, zipfile.ZIP_DEFLATED)
    with pytest.raises(UnsafeArchiveError, match="bomb"):
        ArchiveSource(path, None, BOUNDS)


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_compressed_tar_bomb(tmp_path: Path, mode: str) -> None:
    path = make_tar(tmp_path / "a", {"Pets/cat/bomb.bmp": bytes(30_000_000)}, mode)
    with pytest.raises(UnsafeArchiveError, match="bomb"):
        ArchiveSource(path, None, BOUNDS)


@pytest.mark.parametrize("maker", [make_zip, make_tar])
def test_the_sum_and_the_count_are_bounded(tmp_path: Path, maker: Callable[[Path], Path]) -> None:
    path = maker(tmp_path / "a")
    total = sum(len(content) for content in HONEST.values())
    ArchiveSource(path, None, ArchiveLimits(total))
    with pytest.raises(UnsafeArchiveError, match="max_total_bytes"):
        ArchiveSource(path, None, ArchiveLimits(total - 1))
    with pytest.raises(UnsafeArchiveError, match="more than 5 files"):
        ArchiveSource(path, None, ArchiveLimits(total, max_files=5))


def test_a_tar_header_that_would_fill_memory(tmp_path: Path) -> None:
    member = tarfile.TarInfo("././@PaxHeader")
    member.type = tarfile.XHDTYPE
    member.size = 5_000_000
    path = make_tar(tmp_path / "a", more=[(member, bytes(5_000_000))])
    with pytest.raises(UnsafeArchiveError, match="header"):
        ArchiveSource(path, None, BOUNDS)


@pytest.mark.parametrize("kind", [b"L", b"K", b"x", b"g"])
def test_a_chain_of_headers_is_refused(tmp_path: Path, kind: bytes) -> None:
    # One header after the other, each with a block of data, and never a member.
    data = b"12 path=abc\n" if kind in b"xg" else b"a/b.jpg\0"
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = kind, len(data)
    link = header.tobuf(tarfile.USTAR_FORMAT) + data.ljust(tarfile.BLOCKSIZE, b"\0")
    path = tmp_path / "chain.tar"
    path.write_bytes(link * 3000 + make_tar(tmp_path / "a.tar").read_bytes())
    with pytest.raises(UnsafeArchiveError, match="a chain of more than"):
        ArchiveSource(path, None, BOUNDS)
