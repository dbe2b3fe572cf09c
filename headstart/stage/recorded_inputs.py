"""The hashes that DVC has recorded of a stage's inputs: a damaged input is found before it is used.

DVC does not check read-only files in its cache: a damaged one is restored, reported as unchanged,
and given to the next stage. So a stage that DVC starts compares its inputs with the records of
dvc.lock about the stages that wrote them. Importing DVC takes a second, so its files are read here.
"""

from __future__ import annotations

import configparser
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from headstart._utils.errors import CorruptFileError
from headstart._utils.files import MD5_FOLDER, md5_file, md5_listing

if sys.platform == "win32":
    fcntl = None
else:
    import fcntl

_SETTLED_S = 0.5  # DVC writes dvc.lock in place, perhaps at this moment
_TRIES = 20
_LOCK_BYTES = 64  # at least, of a process number


@dataclass(frozen=True)
class RecordedInput:
    """An input as DVC has recorded it.

    Attributes
    ----------
    path : Path
    md5 : str
        As dvc.lock has it: of a folder, that of its list of files, with ``.dir`` at the end.
    stage : str
        The stage that wrote it; "" for data that ``dvc add`` or ``dvc import`` recorded.
    cache : Path
        DVC's cache.
    """

    path: Path
    md5: str
    stage: str
    cache: Path

    def listing(self) -> Mapping[str, str] | None:
        """Return the recorded MD5 of each file; None if a folder's list is lost.

        Of a file, the key is "".
        """
        if not self.md5.endswith(MD5_FOLDER):
            return {"": self.md5}
        try:
            entries = json.loads(self._object(self.md5).read_bytes())
            found = {str(entry["relpath"]): str(entry["md5"]) for entry in entries}
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return found if md5_listing(found) == self.md5 else None

    def check(self, got: Mapping[str, str]) -> None:
        """Compare the MD5 of each file with the record.

        Raises
        ------
        CorruptFileError
            Naming the file that differs, and the damaged object of DVC's cache if there is one.
        """
        if not self.md5.endswith(MD5_FOLDER):
            self.check_file("", self.md5, got.get("", "nothing"))
            return
        now = md5_listing(got)
        if now == self.md5:
            return
        listing = self.listing()
        if listing is None:
            self.check_file("", self.md5, now)
        else:  # Files that are not in the list may be those of .dvcignore.
            for name, md5 in listing.items():
                self.check_file(name, md5, got.get(name, "no such file"))

    def check_file(self, name: str, expected: str, got: str) -> None:
        """Compare the MD5 of one file below the path with the recorded one; errors as above."""
        if got == expected:
            return
        damaged = self._object(expected)
        is_damaged = damaged.is_file() and _md5_of_object(damaged) != expected
        if not self.stage and not is_damaged:
            return  # It was changed since `dvc add`, and DVC is about to notice.
        who = f"dvc.lock records of the stage `{self.stage}`" if self.stage else "DVC has recorded"
        fault = (
            f"The input {self.path / name if name else self.path} is not what {who}: expected the "
            f"MD5 {expected}, got {got}. Nothing was recorded."
        )
        if is_damaged:
            raise CorruptFileError(
                f"{fault} It was restored from a damaged object of DVC's cache, {damaged}. "
                "`headstart doctor --remove` removes the damaged objects; then "
                + (
                    "the next run writes them again (`dvc pull` brings them from a remote)."
                    if self.stage
                    else f"remove {self.path} and restore it with `dvc pull`, or from your copy."
                )
            )
        cure = (
            f"remove {self.path} and run `dvc checkout {self.path}`"
            if damaged.is_file() and not _uncached(self.path, self.stage)
            else f"run `dvc repro --force --single-item {self.stage}`"
        )
        raise CorruptFileError(
            f"{fault} It was changed or damaged after that stage wrote it. To have it as recorded, "
            f"{cure}; to keep your change, run `dvc commit {self.stage}`. Then run again."
        )

    def _object(self, md5: str) -> Path:
        return self.cache / "files" / "md5" / md5[:2] / md5[2:]


def recorded_inputs(inputs: Iterable[Path]) -> dict[Path, RecordedInput]:
    """Return what DVC has recorded of the inputs that a stage or ``dvc add`` wrote.

    Without DVC (the stage was started by hand), or without a record, there is nothing to compare.
    """
    cache = dvc_cache()
    if cache is None:
        return {}
    outs = recorded_outputs(Path("dvc.lock"))
    found = {}
    for path in inputs:
        stage, md5 = outs.get(os.path.normpath(path), ("", ""))
        if not md5:
            md5 = _added(path.with_name(f"{path.name}.dvc"))
        if md5:
            found[path] = RecordedInput(path, md5, stage, cache)
    return found


def dvc_cache() -> Path | None:
    """Return the folder of DVC's cache; None if DVC did not start this process."""
    root = os.environ.get("DVC_ROOT")
    return _cache(Path(root)) if root and "DVC_STAGE" in os.environ else None


def recorded_sizes() -> dict[Path, int]:
    """Return the bytes of the outputs that DVC has recorded of the running stage."""
    name = os.environ.get("DVC_STAGE", "").rpartition(":")[2]
    stages = _load(Path("dvc.lock")).get("stages") if name else None
    stage = stages.get(name) if isinstance(stages, Mapping) else None
    outs = stage.get("outs") or () if isinstance(stage, Mapping) else ()
    return {Path(out["path"]): int(out.get("size") or 0) for out in outs}


def recorded_outputs(lock: Path) -> dict[str, tuple[str, str]]:
    """Return stage and MD5 of each output in a dvc.lock, by path."""
    stages = _load(lock).get("stages")
    return {
        os.path.normpath(out["path"]): (name, _md5(out))
        for name, stage in (stages.items() if isinstance(stages, Mapping) else ())
        for out in stage.get("outs") or ()
    }


def _uncached(path: Path, stage: str) -> bool:
    """Return True for an output with ``cache: false``: `dvc checkout` does not bring it back."""
    stages = _load(Path("dvc.yaml")).get("stages")
    declared = stages.get(stage) if isinstance(stages, Mapping) else None
    return isinstance(declared, Mapping) and any(
        isinstance(options, Mapping)
        and options.get("cache") is False
        and os.path.normpath(name) == os.path.normpath(path)
        for kind in ("outs", "metrics", "plots")
        for out in declared.get(kind) or ()
        if isinstance(out, Mapping)
        for name, options in out.items()
    )


def _added(file: Path) -> str:
    outs = _load(file).get("outs")
    return _md5(outs[0]) if isinstance(outs, list) and len(outs) == 1 else ""


def _md5(out: Mapping[str, Any]) -> str:
    # DVC 2 hashed text in another way; its records do not name the hash.
    return str(out.get("md5") or "") if out.get("hash") == "md5" else ""


def _load(file: Path) -> Mapping[str, Any]:
    """Return a YAML file of DVC's; an empty mapping if there is none."""
    for _ in range(_TRIES):
        try:
            before = file.stat()
            text = file.read_text(encoding="utf-8")
            settled = not 0 <= time.time() - before.st_mtime < _SETTLED_S or (
                _dvc_is_idle() and _same(before, file.stat())
            )
        except FileNotFoundError:
            return {}
        if text.endswith("\n") and settled:
            break
        time.sleep(_SETTLED_S / 5)
    try:
        values = YAML(typ="safe").load(text)
    except (YAMLError, ValueError) as error:
        raise CorruptFileError(
            f"{file} is not valid YAML: {error}. Nothing was run. `git restore {file}` brings the "
            "committed one back."
        ) from None
    return values if isinstance(values, Mapping) else {}


def _dvc_is_idle() -> bool:
    """Return True if no DVC writes its files, which it does with the project's lock held only.

    The DVC that started this process released the lock for as long as the stage runs.
    """
    root = os.environ.get("DVC_ROOT")
    if fcntl is None or not root:
        return False
    try:
        with Path(root, ".dvc", "tmp", "lock").open("rb") as file:
            if not file.read(_LOCK_BYTES).strip().isdigit():
                return False  # With `core.hardlink_lock`, the file itself is the lock.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)


def _cache(root: Path) -> Path:
    """Return the folder of DVC's cache, from the first settings that name one."""
    import platformdirs

    folder = root / ".dvc"
    of_user = os.environ.get("DVC_GLOBAL_CONFIG_DIR") or platformdirs.user_config_dir(
        "dvc", "iterative"
    )
    of_system = os.environ.get("DVC_SYSTEM_CONFIG_DIR") or platformdirs.site_config_dir(
        "dvc", "iterative"
    )
    for file in (
        folder / "config.local", folder / "config",
        Path(of_user) / "config", Path(of_system) / "config",
    ):  # fmt: skip
        settings = configparser.RawConfigParser(strict=False, delimiters=("=",))
        try:
            settings.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue
        for name in settings.sections():
            if name.strip("'\"") == "cache" and settings.has_option(name, "dir"):
                return file.parent / settings.get(name, "dir").strip("'\"")
    return folder / "cache"


def _md5_of_object(path: Path) -> str:
    return md5_file(path) + (MD5_FOLDER if path.name.endswith(MD5_FOLDER) else "")
