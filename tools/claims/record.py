"""docs/claims.json: what was measured, by group, with the commit and the machine.

``groups`` has the results of each group; ``origins`` says of files of weights, by the first digits
of their sha256, what somebody told of them: nothing is held to these digits.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from benchmarks.checkout import ROOT
from headstart._utils.files import read_json
from headstart.evaluation.environment import environment
from headstart.stage import versions

JSON = ROOT / "docs/claims.json"
PAGE = ROOT / "docs/claims.md"
FORMAT = 1


def read(path: Path) -> dict[str, Any]:
    """What was measured before; nothing if there is no file."""
    if not path.is_file():
        return {"format": FORMAT, "origins": {}, "groups": {}}
    found = read_json(path)
    if found.get("format") != FORMAT:
        raise RuntimeError(
            f"{path.name} has the format {found.get('format')!r}, this code reads {FORMAT}. "
            "Delete it and measure all groups again: make claims."
        )
    return dict(found)


def commit() -> str:
    """The commit that the working tree is at; with ``+`` if other files than ours differ."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    others = [f":(exclude){path.relative_to(ROOT).as_posix()}" for path in (JSON, PAGE)]
    changed = git("status", "--porcelain", "--", ".", *others)
    return git("rev-parse", "HEAD")[:7] + ("+" if changed else "")


def machine() -> dict[str, Any]:
    """What decides bits and seconds, as a run's own record has it."""
    found = environment(versions.read(ROOT / "runtime.txt"))
    return {key: found[key] for key in ("cores", "cpu", "system", "machine", "python", "packages")}
