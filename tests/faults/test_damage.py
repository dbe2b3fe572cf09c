"""Every artifact of a run damaged, in the workspace and in DVC's cache: found, named, and cured."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headstart._utils.files import md5_file
from tests.faults import tally
from tests.faults.project import Project, explained, follow, remove
from tools.contract import declared

pytestmark = [pytest.mark.faults, pytest.mark.timeout(7200)]
KINDS = ("truncated", "flipped", "emptied", "deleted")
#: Of a folder with more files, the first and the largest are damaged.
_ALL = 12


def damage(path: Path, kind: str) -> None:
    """Damage a file; it is a new one, so that links to it keep the old content."""
    content = path.read_bytes()
    path.unlink()
    middle = len(content) // 2
    if kind == "truncated":
        path.write_bytes(content[:middle])
    elif kind == "flipped":
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif kind == "emptied":
        path.write_bytes(b"")


@contextmanager
def damaged(path: Path, kind: str) -> Iterator[None]:
    """Damage a file for the time of a block."""
    content = path.read_bytes()
    damage(path, kind)
    try:
        yield
    finally:
        remove(path)
        path.write_bytes(content)


def artifacts(project: Project, output: str) -> list[Path]:
    """Return the files of an output that hold something."""
    path = project.folder / output
    files = sorted(each for each in path.rglob("*") if each.is_file() and each.stat().st_size)
    if not path.is_dir():
        files = [path]
    if len(files) <= _ALL:
        return files
    return [files[0], max(files, key=lambda each: each.stat().st_size)]


@pytest.mark.parametrize("stage", list(declared()))
def test_a_damaged_output_is_named_by_every_stage_that_reads_it(
    project: Project, stage: str
) -> None:
    for output in project.outputs(stage):
        cured = False
        for file in artifacts(project, output):
            for kind in KINDS:
                for reader in project.readers(output):
                    with damaged(file, kind):
                        said = read_damaged(project, reader, file, f"{file} {kind}, by {reader}")
                        if said and kind == "flipped" and not cured:
                            cured = True
                            follow_cure(project, said, file, reader)


def read_damaged(project: Project, reader: str, file: Path, where: str) -> str:
    """Run a stage that reads a damaged file; return what it says, "" if it does not need it."""
    ended = project.run(reader)
    if ended.code == 0:  # It opened other files of that folder.
        assert project.hashes(reader) == project.wanted(reader), f"{where}: not noticed"
        tally.add("damage in the workspace", not_read=1)
        return ""
    assert ended.code == 1, f"{where}: {ended.code}\n{ended.stderr}"
    relative = file.relative_to(project.folder)
    explained(ended.stderr, names={"file": str(relative), "cure": "`dvc "})
    tally.add("damage in the workspace", named=1)
    return ended.stderr


def follow_cure(project: Project, said: str, file: Path, reader: str) -> None:
    done = follow(project, said)
    assert done, f"nothing to follow in:\n{said}"
    ended = project.run(reader)
    assert ended.code == 0, f"after {done}:\n{ended.stderr}"
    assert project.hashes(*project.stages) == project.clean, f"after {done}"
    tally.add("damage in the workspace", cures_followed=1)


@pytest.mark.parametrize("turn", range(4 if os.environ.get("HEADSTART_FAULTS") == "all" else 1))
def test_a_damaged_cache_is_named_and_cured(project: Project, turn: int) -> None:
    cached = [
        (stage, output)
        for stage, each in project.pipeline.items()
        for output in each.get("outs", ())
        if isinstance(output, str)
    ]
    struck: dict[str, Path] = {}
    for number, (_, output) in enumerate(cached):
        file = artifacts(project, output)[-1]
        md5 = md5_file(file)
        where = project.folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
        if where not in struck.values():
            where.parent.chmod(0o755)
            damage(where, KINDS[(number + turn) % 3])  # a deleted object is only not there
            struck[output] = where
        remove(project.folder / output)
    restored = project.call("dvc", "checkout", *struck)
    assert restored.code == 0, restored.stderr
    for output in struck:
        for reader in project.readers(output):
            ended = project.run(reader)
            if ended.code:
                explained(ended.stderr, names={"cure": "`headstart doctor --remove`"})
                assert any(str(each) in ended.stderr for each in struck.values()), ended.stderr
                tally.add("damage in DVC's cache", named=1)
    found = project.call("headstart", "doctor")
    assert found.code == 1
    for where in struck.values():
        assert str(where) in found.stdout
    removed = project.call("headstart", "doctor", "--remove")
    assert f"{len(struck)} damaged" in removed.stdout, removed.stdout
    again = project.call("dvc", "repro")
    assert again.code == 0, again.stdout + again.stderr
    assert project.hashes(*project.stages) == project.clean
    assert project.call("headstart", "doctor").code == 0
    tally.add("damage in DVC's cache", objects=len(struck), cures_followed=1)
