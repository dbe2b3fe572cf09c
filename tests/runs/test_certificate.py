"""The certificate as JSON and Markdown: everything in it, and nothing that a viewer would obey."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from headstart.runs.certificate import (
    Certificate,
    Difference,
    StageRun,
    as_json,
    as_markdown,
    differences,
    write,
)
from headstart.runs.verdict import FileVerdict, Kind, Verdict
from tests.conftest import ROOT

THEN = {"python": "3.11.7", "cpu_flags": ["avx", "fma"], "packages": {"numpy": "2.4.6"}}
NOW = {"python": "3.12.1", "cpu_flags": ["avx", "fma"], "packages": {"numpy": "2.4.6"}, "new": 1}
FILES = (
    FileVerdict("data/images/00.zip", "download", Kind.OUTPUT, Verdict.BIT_EXACT, "1", "1"),
    FileVerdict("w.npy", "train", Kind.OUTPUT, Verdict.NUMERICAL, "2", "3", largest=1.5e-7, why=""),
    FileVerdict("a|b<i>.pb", "export", Kind.OUTPUT, Verdict.DIFFERENT, "4", "5", why="no\nmore"),
    FileVerdict("metrics.json", "train", Kind.METRIC, Verdict.BIT_EXACT, "6", "6"),
)
MADE = Certificate(
    revision="HEAD",
    commit="c" * 40,
    subject="A <script> | of a commit",
    committed="2026-01-01T00:00:00+00:00",
    made="2026-01-02T00:00:00+00:00",
    command="headstart reproduce HEAD",
    verdict=Verdict.METRIC,
    required=Verdict.BIT_EXACT,
    files=FILES,
    stages=(StageRun("download", "restored from DVC's cache", 0.0), StageRun("train", "ran", 1.25)),
    then=THEN,
    now=NOW,
    differences=differences(THEN, NOW),
    changed=("seed=3",),
    notes=("Nothing else.",),
    seconds=1.25,
)

OTHER = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from tests.runs.test_certificate import MADE, write
write(MADE, Path(sys.argv[1]))
"""


def test_the_line_names_what_is_different() -> None:
    assert MADE.line() == (
        "metric-equal, where bit-exact was required: the scores are equal, other files are not "
        "(4 output files: 2 bit-exact, 1 numerically-equal, 1 different). Different: a|b<i>.pb."
    )
    reached = replace(MADE, required=Verdict.METRIC)
    assert reached.reached
    assert "required" not in reached.line()


def test_environments_are_compared_leaf_by_leaf() -> None:
    assert differences(THEN, NOW) == (
        Difference("python", "3.11.7", "3.12.1"),
        Difference("new", "", "1"),
    )
    assert differences(None, NOW) == differences(THEN, None) == differences(THEN, THEN) == ()


def test_the_json_has_all_of_it() -> None:
    values = json.loads(as_json(MADE))
    assert values["format"] == 1
    assert not values["reached"]
    assert values["verdict"] == "metric-equal"
    assert [entry["verdict"] for entry in values["files"]] == [f.verdict for f in FILES]
    assert values["files"][1]["largest"] == 1.5e-7
    assert values["then"] == THEN
    assert values["stages"][1] == {"name": "train", "how": "ran", "seconds": 1.25}


def test_the_page_tells_what_differs_and_is_safe_to_show() -> None:
    page = as_markdown(MADE)
    assert page.startswith(f"# metric-equal: commit {'c' * 12}\n")
    assert "largest difference 1.5e-07" in page
    assert "| **python** | 3.11.7 | 3.12.1 |" in page
    assert "| **new** | none | 1 |" in page
    assert "NOT reached" in page
    assert "seed=3" in page
    assert "<script>" not in page
    assert "A &lt;script&gt; \\| of a commit" in page
    assert "| different | `a\\|b&lt;i&gt;.pb` |" in page
    assert "no more" in page


def test_many_alike_files_are_counted() -> None:
    shards = tuple(replace(FILES[0], path=f"data/images/{i:02}.zip") for i in range(64))
    page = as_markdown(replace(MADE, files=shards))
    assert "`data/images`: 56 more" in page
    assert page.count(".zip`") == 8


def test_an_unknown_environment_is_reported() -> None:
    assert "is not recorded" in as_markdown(replace(MADE, then=None, differences=()))
    assert "The same as the recorded one" in as_markdown(replace(MADE, now=THEN, differences=()))


def test_two_processes_may_write_one_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other writes the whole of it in between: none takes away what the other has begun."""
    sync, other = os.fsync, list[object]()

    def synced(descriptor: int) -> None:  # written beside its place, and not moved there yet
        sync(descriptor)
        if not other:
            other.append(subprocess.run([sys.executable, "-c", OTHER, tmp_path / "a"], check=True))

    monkeypatch.setattr(os, "fsync", synced)
    paths = write(MADE, tmp_path / "a")
    assert sorted((tmp_path / "a").iterdir()) == sorted(paths)
    assert other


def test_both_are_written_and_replaced(tmp_path: Path) -> None:
    write(MADE, tmp_path / "a")
    paths = write(replace(MADE, verdict=Verdict.BIT_EXACT), tmp_path / "a")
    assert [path.name for path in paths] == ["certificate.json", "certificate.md"]
    assert sorted((tmp_path / "a").iterdir()) == sorted(paths)
    assert json.loads(paths[0].read_text())["verdict"] == "bit-exact"
