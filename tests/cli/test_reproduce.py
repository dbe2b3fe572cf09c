"""`headstart reproduce`, as a person calls it: exit codes, certificate, interruption."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from benchmarks.checkout import Checkout
from tests.cli import running
from tests.conftest import ROOT
from tests.runs import projects, toy
from tests.runs.server import until

run = partial(running.run, "reproduce")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.make(tmp_path_factory.mktemp("made"))


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    folder = tmp_path / "home" / "project"
    shutil.copytree(made, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return folder


def test_bit_exact_with_a_certificate_and_nothing_else(project: Path) -> None:
    before = toy.state(project)
    said = run("HEAD")
    assert "Verdict: bit-exact (5 output files: 5 bit-exact)." in said
    sha = projects.git(project, "rev-parse", "HEAD").strip()
    folder = Path("data/certificates") / sha[:12]
    values = json.loads((folder / "certificate.json").read_text())
    assert values["commit"] == sha
    assert values["reached"]
    assert str(folder / "certificate.md") in said
    new = toy.state(project).keys() - before.keys()
    assert all(name.startswith("data") for name in new)
    assert projects.git(project, "status", "--porcelain") == ""


def test_a_verdict_below_the_required_one_sets_the_exit_code(project: Path) -> None:
    said = run("HEAD", "--set", "noise=0.1", "--certificate", "proof", code=4)
    assert "Verdict: metric-equal, where bit-exact was required" in said
    assert "weights.csv" in said
    values = json.loads(Path("proof/certificate.json").read_text())
    assert values["changed"] == ["noise=0.1"]
    assert not values["reached"]
    run("HEAD", "-S", "noise=0.1", "--require", "metric-equal", "--certificate", "proof")
    assert "| **parameters changed** | noise=0.1 |" in Path("proof/certificate.md").read_text()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nothing"], 1, "Error: There is no commit 'nothing'"),
        (["HEAD", "--require", "same"], 2, "'same' is not one of 'bit-exact', 'numerically-equal'"),
        (["HEAD", "--python", "no/python"], 1, "Error: There is no Python at"),
    ],
)
def test_no_verdict_has_another_exit_code(
    project: Path, words: list[str], code: int, said: str
) -> None:
    assert said in run(*words, code=code)
    assert not Path("data/certificates").exists()


def test_recorded_features_are_used_only_with_warm(project: Path) -> None:
    run("HEAD", "--warm", "--certificate", "proof")
    values = json.loads(Path("proof/certificate.json").read_text())
    assert values["warm"]
    assert "Warm: recorded features of" in " ".join(values["notes"])


def test_an_unwritable_certificate_leaves_the_verdict(project: Path) -> None:
    Path("taken").write_text("a file")
    said = run("HEAD", "--certificate", "taken", code=1)
    assert "Verdict: bit-exact" in said
    assert "Error: The certificate could not be written to taken" in said


@pytest.mark.parametrize(
    ("number", "words", "fate"),
    [(signal.SIGINT, [], "was removed"), (signal.SIGTERM, ["--keep"], "was kept")],
)
def test_interrupted_it_ends_the_stage_and_removes_the_copy(
    project: Path, tmp_path: Path, number: signal.Signals, words: list[str], fate: str
) -> None:
    (project / "stages/train.py").write_text(
        "import os, pathlib, time\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n"
        "time.sleep(600)\n"
    )
    toy.commit(project, "takes long")
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from headstart.cli.app import app\n"
    code += f"sys.argv = {['headstart', 'reproduce', 'HEAD', *words]!r}; app()"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    pid = tmp_path / "pid"
    until(lambda: pid.exists() and pid.read_text(), 60, "the stage begins")
    stage = int((tmp_path / "pid").read_text())
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert f"Interrupted: the stages were stopped and the copy {fate}." in said
    until(lambda: not Path(f"/proc/{stage}").exists(), 60, "the stage ends")
    assert bool(list(tmp_path.glob("headstart-reproduce-*"))) == bool(words)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_embedded_default_on_a_fresh_clone(tmp_path: Path) -> None:
    """Bit-exact; with an edited hash different; with other threads a verdict; warm no pass."""
    checkout = Checkout(tmp_path / "project", tmp_path / "store")
    checkout.repro()
    checkout.git("add", "--all")
    checkout.git("commit", "--quiet", "--message", "run")
    clone = tmp_path / "clone"
    checkout.git("clone", "--quiet", ".", str(clone))
    before = toy.state(tmp_path / "store")

    def reproduce(*words: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "headstart", "reproduce", "HEAD", *words],
            cwd=clone, env={**checkout.environment, "TMPDIR": str(tmp_path)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    said = reproduce("--certificate", str(tmp_path / "proof"))
    assert "Verdict: bit-exact" in said
    assert "1,797 " in said
    proof = json.loads((tmp_path / "proof/certificate.json").read_text())
    assert all(run["how"] == "ran" for run in proof["stages"])
    assert proof["then"] == proof["now"]
    assert proof["differences"] == []
    assert toy.state(tmp_path / "store") == before
    warm = reproduce("--warm", "-S", "compute.threads=1", "--require", "metric-equal")
    assert "Verdict: " in warm
    assert toy.state(tmp_path / "store") == before
    lock = (clone / "dvc.lock").read_text()
    wrong = re.sub(
        r"(- path: data/plots/confusion\.csv\n +hash: md5\n +md5: )[0-9a-f]{32}",
        rf"\g<1>{'a' * 32}",
        lock,
    )
    assert wrong != lock
    (clone / "dvc.lock").write_text(wrong)
    toy.commit(clone, "edited")
    said = reproduce(code=4)
    assert "Different: data/plots/confusion.csv." in said
