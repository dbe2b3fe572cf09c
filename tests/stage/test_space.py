"""A full disk: noticed before the work, and one message if it fills up all the same."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from headstart._utils.disk import disk_fault
from headstart._utils.errors import HeadstartError
from headstart.audit.parameters import FindDuplicatesParams
from headstart.datasets.manifests import SPLIT, frame, write_images, write_split
from headstart.datasets.parameters import SampleParams, SplitParams
from headstart.features.parameters import ExtractFeaturesParams
from headstart.features.split_features import features_size
from headstart.stage import space
from headstart.stage.run_statistics import RunStatistics
from stages import find_duplicates as duplicates_stage
from stages import sample as sample_stage
from stages import split as split_stage
from tests.conftest import ROOT
from tests.stage.test_recorded_inputs import project, repro
from tests.training import models

WRITES = '''
"""A stage for tests."""
from headstart._utils.files import atomic_folder
from headstart.stage import command_line as cli
from headstart.stage.command_line import Out

def main(target: Out) -> None:
    with atomic_folder(target) as folder:
        (folder / "large.bin").write_bytes(bytes(4_000_000))

if __name__ == "__main__":
    cli.run(main)
'''


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)


def raised(error: BaseException, behind: BaseException | None = None) -> BaseException:
    error.__context__ = behind
    return error


@pytest.mark.parametrize(
    ("error", "file"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "data/x.csv"), "data/x.csv"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "data/x.csv"), "data/x.csv"),
        (
            OSError("Can't write data (file write failed: errno = 28, 'No space left on device')"),
            "",
        ),
        (sqlite3.OperationalError("database or disk is full"), ""),
        (raised(RuntimeError("closed"), OSError(errno.ENOSPC, "No space", "a.bin")), "a.bin"),
        (HeadstartError("It cannot be written: No space left on device."), ""),
    ],
)
def test_all_errors_of_a_full_disk_give_one_message(error: BaseException, file: str) -> None:
    explained = space.explained(error, [Path("data/out")])
    said = str(explained)
    assert f"The disk is full: {file or 'data/out'} could not be written, and " in said
    assert "is free there." in said
    assert "`dvc cache dir FOLDER`" in said


@pytest.mark.parametrize(
    ("error", "file"),
    [
        (OSError(errno.EIO, "Input/output error", "data/x.csv"), "data/x.csv"),
        (OSError(errno.EROFS, "Read-only file system", "data/x.csv"), "data/x.csv"),
        (RuntimeError("data/x.csv; Input/output error"), "data/out"),
    ],
)
def test_a_failing_disk_is_named_with_what_to_look_at(error: BaseException, file: str) -> None:
    said = str(space.explained(error, [Path("data/out")]))
    assert f"The disk failed: {file} could not be used (" in said
    assert "`dmesg`" in said
    assert said.endswith("Then run again.")
    explained = HeadstartError("The archive cannot be read. Fetch it again.")
    explained.__cause__ = error
    assert space.explained(explained, []) is None


def test_a_file_of_another_user_is_named_with_what_to_change() -> None:
    error = PermissionError(errno.EACCES, "Permission denied", "data/x.csv")
    said = str(space.explained(error, [Path("data/out")]))
    assert said.startswith("This user may not use data/x.csv (Permission denied).")
    assert "`chown`" in said
    assert said.endswith("Then run again.")


@pytest.mark.parametrize("error", [OSError(errno.ENOENT, "No such file"), ValueError("full")])
def test_other_errors_keep_their_own(error: BaseException) -> None:
    assert disk_fault(error) is None
    assert space.explained(error, []) is None


def require_namespaces() -> None:
    """Skip a test where a process may not be the root of a namespace of its own and mount there."""
    if shutil.which("unshare") is None:
        pytest.skip("there is no `unshare` to make a small disk with")
    trial = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", "mount -t tmpfs none /mnt"],
        capture_output=True,
        check=False,
    )
    if trial.returncode != 0:
        pytest.skip("this machine does not let a test mount a small disk")


def in_namespace(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script as the root of a namespace of its own."""
    require_namespaces()
    return subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script], cwd=folder, capture_output=True, text=True,
        check=False, env={**os.environ, "PYTHONPATH": f"{ROOT}:{folder}", **variables},
    )  # fmt: skip


def test_a_disk_that_fills_up_is_named(tmp_path: Path) -> None:
    (tmp_path / "writing.py").write_text(WRITES)
    (tmp_path / "data").mkdir()
    done = in_namespace(
        f"mount -t tmpfs -o size=1m none data && {sys.executable} -m writing --target data/out "
        f"--params {ROOT / 'params.yaml'}",
        tmp_path,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Error: The disk is full: data/" in done.stderr
    assert "MB is free there" in done.stderr


def test_a_full_disk_of_dvcs_cache_is_named(tmp_path: Path) -> None:
    folder = project(tmp_path)
    (folder / "using.py").write_text(
        (folder / "using.py")
        .read_text()
        .replace("write_text(text)", "write_text('x' * 45_000_000)")
    )
    (folder / "which.txt").write_text("2")
    cache = tmp_path / "objects"
    cache.mkdir()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = in_namespace(
        f"mount -t tmpfs -o size=42m none {cache} && cp -r .dvc/cache/. {cache} && "
        f"{sys.executable} -m dvc cache dir --local {cache} && {sys.executable} -m dvc repro",
        folder, PATH=path, DVC_NO_ANALYTICS="1",
    )  # fmt: skip
    assert done.returncode == 255, done.stdout + done.stderr
    assert (
        f"DVC cannot keep result.txt: it copies 45 MB to its cache, {cache}, where" in done.stderr
    )
    shutil.rmtree(cache)
    (folder / ".dvc" / "config.local").unlink()
    assert "exit code 0" in repro(folder)  # what is advised: another cache


@pytest.fixture
def manifest(tmp_path: Path) -> pd.DataFrame:
    rows = [
        {
            "image_id": f"{i:064x}", "path": f"{i}.png", "label": "ab"[i % 2], "format": "png",
            "predefined_split": "", "width": 9, "height": 9, "bytes": 100, "group": "",
            "shard": 0, "offset": 0, "split": "train",
        }
        for i in range(9)
    ]  # fmt: skip
    table = frame(rows, SPLIT)
    write_images(tmp_path / "images.csv", table)
    write_split(tmp_path / "split.csv", table)
    return table


@pytest.mark.usefixtures("full", "manifest")
def test_split_sample_and_find_duplicates_ask_before_they_work(tmp_path: Path) -> None:
    statistics = RunStatistics(tmp_path, "split")
    with pytest.raises(HeadstartError, match=r"The outputs need .* of which [01] KB is free"):
        split_stage.main(
            tmp_path / "images.csv", tmp_path / "groups.csv", tmp_path / "corrections.csv",
            tmp_path / "o.csv", tmp_path / "changed.csv", tmp_path / "m.json",
            SplitParams.model_construct(), 1, statistics,
        )  # fmt: skip
    with pytest.raises(HeadstartError, match=r"The outputs need .* of which [01] KB is free"):
        sample_stage.main(
            tmp_path / "split.csv", tmp_path / "images", tmp_path / "o.csv", tmp_path / "copies",
            statistics, SampleParams(train_per_class=2, validation_per_class=None), 1,
        )  # fmt: skip
    with pytest.raises(HeadstartError, match=r"The outputs need .* of which [01] KB is free"):
        duplicates_stage.main(
            tmp_path / "images", tmp_path / "images.csv", ROOT / "runtime.txt",
            tmp_path / "o.csv", tmp_path / "groups.csv", tmp_path / "m.json",
            FindDuplicatesParams(enabled=True, similarity=0.9), statistics,
        )  # fmt: skip
    assert not (tmp_path / "o.csv").exists()


def test_the_estimate_of_the_features_counts_views_and_dtype(manifest: pd.DataFrame) -> None:
    backbone = models.backbone(feature_shape=(4,))
    params = ExtractFeaturesParams.model_construct(views=2, dtype="float32")
    assert features_size(manifest, backbone, params) == 9 * 3 * 4 * 4
    half = params.model_copy(update={"dtype": "float16"})
    assert features_size(manifest, backbone, half) == 9 * 3 * 4 * 2


def test_sizes_that_dvc_has_recorded_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: None
) -> None:
    del full
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "make")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    (tmp_path / "dvc.lock").write_text(
        "stages:\n  make:\n    outs:\n    - {path: made, size: 3000000, md5: a.dir}\n"
    )
    with pytest.raises(HeadstartError, match=r"The outputs need 40 MB on the disk of .*cache"):
        space.require_recorded_space([Path("made")])
