"""A stage's command line: derived from ``main``, guarded against what DVC does not notice."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headstart._utils.errors import HeadstartError, InputChangedError
from headstart._utils.files import md5_file
from headstart.stage import command_line, inputs
from tests.conftest import ROOT
from tests.runs import projects

STAGE = '''
"""A stage for tests: copies a file.

It has a second paragraph.
"""
from __future__ import annotations
import os, sys, time
from pathlib import Path
from headstart.stage import command_line as cli
from headstart.stage.command_line import In, Out
from headstart._utils.errors import HeadstartError
from headstart.stage.run_statistics import RunStatistics
from headstart.datasets.parameters import SplitParams

def main(source: In, target_file: Out, run_statistics: RunStatistics, split: SplitParams, seed:
int) -> None:
    text = source.read_text()
    print("started", flush=True)
    if text == "fail":
        raise HeadstartError("This cannot be done. Do that.")
    if text == "touch":
        source.write_text("other")
    if text == "sleep":
        time.sleep(30)
    if text == "hold":
        while not Path("release").exists():
            time.sleep(0.01)
    run_statistics.note(passes_done=3, share=split.validation, seed=seed)
    target_file.write_text(text)

if __name__ == "__main__":
    cli.run(main)
'''


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    (tmp_path / "copying.py").write_text(STAGE)
    return tmp_path


def command(folder: Path) -> list[str]:
    return [
        sys.executable, "-m", "copying", "--source", str(folder / "in.txt"),
        "--target-file", str(folder / "out.txt"),
        "--run-statistics", str(folder / "run_statistics"),
        "--params", str(ROOT / "params.yaml"),
    ]  # fmt: skip


def environment(folder: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT}:{folder}", **more}


def run(folder: Path, text: str, **more: str) -> subprocess.CompletedProcess[str]:
    (folder / "in.txt").write_text(text)
    return subprocess.run(
        command(folder), cwd=folder, env=environment(folder, **more),
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_paths_parameters_and_counters(stage: Path) -> None:
    result = run(stage, "hello", HEADSTART_RUN="r1")
    assert result.returncode == 0, result.stderr
    assert (stage / "out.txt").read_text() == "hello"
    entry = json.loads((stage / "run_statistics" / "copying.json").read_text())
    assert entry["passes_done"] == 3
    assert entry["run"] == "r1"
    assert entry["seconds"] >= 0


def test_help_teaches_the_options(stage: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "copying", "--help"],
        cwd=stage, env=environment(stage), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "It has a second paragraph." in result.stdout
    assert "--target-file PATH" in result.stdout
    assert "written; replaced if it exists" in result.stdout


def test_an_expected_failure_is_a_message_and_no_traceback(stage: Path) -> None:
    result = run(stage, "fail")
    assert result.returncode == 1
    assert "Error: This cannot be done. Do that." in result.stderr
    assert "Traceback" not in result.stderr
    assert not (stage / "run_statistics").exists()


def test_an_input_that_changes_while_the_stage_runs_fails_it(stage: Path) -> None:
    result = run(stage, "touch")
    assert result.returncode == 1
    assert "in.txt changed while the stage ran" in result.stderr


def test_a_file_that_cannot_be_read_is_an_input_like_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "closed").touch()
    hashed = md5_file

    def refuse(path: Path) -> str:
        if path.name == "closed":
            raise PermissionError(13, "Permission denied")
        return hashed(path)

    monkeypatch.setattr(inputs, "md5_file", refuse)
    with inputs.unchanged([tmp_path / "d"]):
        pass
    with pytest.raises(InputChangedError), inputs.unchanged([tmp_path / "d"]):
        (tmp_path / "d" / "closed").rename(tmp_path / "d" / "locked")


LOCATED = '''
"""A stage for tests."""
from headstart.stage import command_line as cli
from headstart.stage.command_line import DownloadLocation, Out

def main(source: DownloadLocation, target: Out) -> None:
    target.write_text((source / "a").read_text())

if __name__ == "__main__":
    cli.run(main)
'''


@pytest.mark.parametrize("name", ["$(touch pwned)", "`touch pwned`", '"; touch pwned; "', "a b"])
def test_a_location_runs_nothing_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    (tmp_path / "located.py").write_text(LOCATED)
    (tmp_path / name).mkdir()
    (tmp_path / name / "a").write_text("image")
    text = (ROOT / "params.yaml").read_text()
    assert "location: data/raw" in text
    (tmp_path / "params.yaml").write_text(
        text.replace("location: data/raw", f"location: {json.dumps(name)}")
    )
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n  one:\n    cmd: python -m located --target out\n"
        '    deps: ["${download.location}"]\n    outs: [out]\n'
    )
    projects.call(tmp_path, "git", "init", "-q")
    projects.dvc(tmp_path, "init", "-q")
    path = f"{ROOT}:{tmp_path}"
    projects.call(tmp_path, sys.executable, "-m", "dvc", "repro", PYTHONPATH=path)
    assert (tmp_path / "out").read_text() == "image"
    assert not (tmp_path / "pwned").exists()


def test_a_location_that_is_not_there_is_named_with_the_likelier_cure_first(tmp_path: Path) -> None:
    (tmp_path / "located.py").write_text(LOCATED)
    text = (ROOT / "params.yaml").read_text().replace("location: data/raw", "location: nowhere")
    (tmp_path / "params.yaml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "located", "--target", "out"], cwd=tmp_path, text=True,
        env=environment(tmp_path), capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Error: There is nothing at nowhere, where the images should be." in done.stderr
    assert "--set download.location=PATH" in done.stderr


def test_what_a_killed_run_left_beside_its_outputs_is_cleared(stage: Path) -> None:
    left = stage / f".out.txt.{os.getpid()}.part"  # that number is in use again
    left.mkdir()
    assert run(stage, "hello").returncode == 0
    assert not left.exists()


def test_an_experiment_in_a_copy_names_two_ways_that_work(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    text = LOCATED.replace(
        "    target.write_text",
        "    from headstart._utils.errors import SourceError\n"
        "    if not (source / 'a').exists():\n"
        "        raise SourceError('There are no images.')\n"
        "    target.write_text",
    )
    (folder / "located.py").write_text(text)
    (folder / "after.py").write_text("open('end', 'w').write(open('out').read() + 'er')\n")
    (folder / "images").mkdir()
    (folder / "images" / ".gitignore").write_text("*\n!.gitignore\n")
    (folder / "images" / "a").write_text("image")
    params = (ROOT / "params.yaml").read_text()
    (folder / "params.yaml").write_text(params.replace("location: data/raw", "location: images"))
    (folder / "dvc.yaml").write_text(
        "stages:\n  one:\n    cmd: python -m located --target out\n"
        '    deps: ["${download.location}"]\n    params: [download]\n    outs: [out]\n'
        "  split:\n    cmd: python after.py\n    deps: [out]\n    params: [split]\n"
        "    outs: [end]\n"
    )
    projects.git(folder, "init", "-q")
    projects.dvc(folder, "init", "-q")

    def dvc(*words: str) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        who = {f"GIT_{role}_{what}": "a@b.c" for role in ("AUTHOR", "COMMITTER")
               for what in ("NAME", "EMAIL")}  # fmt: skip
        return subprocess.run(
            [sys.executable, "-m", "dvc", *words], cwd=folder, capture_output=True, text=True,
            env=environment(folder, PATH=path, **who), check=False,
        )  # fmt: skip

    assert dvc("repro").returncode == 0
    projects.git(folder, "add", "--all")
    projects.git(folder, "commit", "-q", "-m", "run")
    failed = dvc("exp", "run", "--temp", "-S", "download.min_side=9")
    assert failed.returncode != 0
    said = failed.stdout + failed.stderr
    assert "Error: There are no images.\nThis stage ran in a copy of the project" in said
    assert f"-S download.location={folder}/images`" in said
    absolute = f"download.location={folder / 'images'}"
    done = dvc("exp", "run", "--temp", "-S", "download.min_side=9", "-S", absolute)
    assert done.returncode == 0, done.stderr
    later = dvc("exp", "run", "--temp", "--downstream", "split", "-S", "split.test=0.2")
    assert later.returncode == 0, later.stderr


def test_an_absent_input_is_named(stage: Path) -> None:
    result = subprocess.run(
        command(stage), cwd=stage, env=environment(stage), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert "in.txt does not exist" in result.stderr


def test_a_wrong_parameter_stops_before_anything_is_read(stage: Path) -> None:
    (stage / "bad.yaml").write_text((ROOT / "params.yaml").read_text().replace("0.1", "ten"))
    (stage / "in.txt").write_text("hello")
    arguments = [*command(stage)[:-1], str(stage / "bad.yaml")]
    result = subprocess.run(
        arguments, cwd=stage, env=environment(stage), capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "must be a number > 0 and < 1. Got 'ten' instead. (bad.yaml line" in result.stderr
    assert not (stage / "out.txt").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("--target-file", "--another"), "are required: --target-file"),
        (("--source", "--sourc"), "are required: --source"),
        (("--params", "--unknown"), "unrecognized arguments: --unknown"),
    ],
)
def test_a_command_that_does_not_fit_main_is_an_error_of_ours(
    stage: Path, change: tuple[str, str], said: str
) -> None:
    call = [change[1] if word == change[0] else word for word in command(stage)]
    result = subprocess.run(
        call, cwd=stage, env=environment(stage), capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "Error: The command does not fit the arguments of `main`: " in result.stderr
    assert "`dvc repro --single-item " in result.stderr
    assert said in result.stderr
    assert "correct the `cmd` of the stage there" in result.stderr
    assert "usage:" not in result.stderr
    assert not (stage / "out.txt").exists()


@pytest.mark.parametrize("argument", ["divide: SplitParams", "folder: Path", "anything"])
def test_an_argument_of_main_that_nothing_provides_is_an_error_of_ours(
    stage: Path, argument: str
) -> None:
    text = (stage / "copying.py").read_text().replace("split: SplitParams", argument)
    (stage / "copying.py").write_text(text)
    result = run(stage, "hello")
    assert result.returncode == 2
    name = argument.partition(":")[0]
    assert f"Error: The argument `{name}` of `main` in copying must be annotated" in result.stderr
    assert "Traceback" not in result.stderr


def _heed_interrupts() -> None:
    """What a shell starts in the background ignores them, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_interrupting_says_that_one_can_go_on(stage: Path) -> None:
    (stage / "in.txt").write_text("sleep")
    with subprocess.Popen(
        command(stage), cwd=stage, env=environment(stage), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=_heed_interrupts,  # noqa: PLW1509 - no threads here
    ) as child:  # fmt: skip
        assert child.stdout is not None
        child.stdout.readline()
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=10)
    assert child.returncode == 130
    assert "run again to resume" in errors


@pytest.mark.parametrize("kind", [ImportError, HeadstartError])
def test_an_interrupt_that_a_library_turned_into_an_error_is_an_interrupt(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def imported(*_: object) -> None:
        raise kind("initialization failed") from KeyboardInterrupt()

    monkeypatch.setattr(command_line, "_run", imported)
    monkeypatch.setattr(command_line, "leave", sys.exit)
    with pytest.raises(SystemExit) as ended:
        command_line.run(imported)
    assert ended.value.code == 130
    said = capsys.readouterr().err
    assert "run again to resume" in said
    assert "failed" not in said


def test_a_second_run_waits_for_the_first(stage: Path) -> None:
    (stage / "in.txt").write_text("hold")
    with start(stage) as first:
        assert first.stdout is not None
        first.stdout.readline()
        with start(stage) as second:
            assert second.stderr is not None
            said = second.stderr.readline()
            (stage / "release").touch()
            second.communicate(timeout=60)
        first.communicate(timeout=60)
    assert f"Another run (process {first.pid}) is writing" in said
    assert [first.returncode, second.returncode] == [0, 0]


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(folder), cwd=folder, env=environment(folder), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="process groups are POSIX")
def test_a_stage_dies_with_the_dvc_that_started_it(stage: Path) -> None:
    (stage / "in.txt").write_text("sleep")
    with run_by_dvc(stage, command(stage)) as dvc:
        assert dvc.stdout is not None
        pid = int(dvc.stdout.readline())
        dvc.kill()
        gone(pid)


@pytest.mark.skipif(os.name != "posix", reason="sh is POSIX")
@pytest.mark.parametrize("shells", [1, 2])
def test_a_stage_dies_with_a_dvc_that_waits_behind_shells(stage: Path, shells: int) -> None:
    (stage / "in.txt").write_text("sleep")
    with run_by_dvc(stage, behind(shells, command(stage))) as dvc:
        assert dvc.stdout is not None
        dvc.stdout.readline()
        # What it printed is the shell's number; the stage's stands in the lock of its outputs.
        (lock,) = (stage / "store").glob("locks-*/*.lock")
        dvc.kill()
        gone(int(lock.read_text()))


@pytest.mark.skipif(os.name != "posix", reason="sh is POSIX")
def test_stages_of_one_dvc_are_one_run_whatever_shells_start_them(stage: Path) -> None:
    (stage / "in.txt").write_text("hello")
    runs = []
    for calls in ([1, 1, 2, 0], [1]):
        code = (
            "import json, pathlib, subprocess, sys\n"
            "for call in json.loads(sys.argv[1]):\n"
            "    subprocess.run(call, check=True, stdout=subprocess.DEVNULL)\n"
            "    written = pathlib.Path('run_statistics/copying.json').read_text()\n"
            "    print(json.loads(written)['run'])\n"
        )
        calls_of_dvc = json.dumps([behind(shells, command(stage)) for shells in calls])
        result = subprocess.run(
            [sys.executable, "-c", code, calls_of_dvc],
            cwd=stage, env=environment(stage, DVC_STAGE="copying"), capture_output=True,
            text=True, check=True,
        )  # fmt: skip
        runs.append(result.stdout.split())
    (first, *others), (later,) = runs
    assert others == [first] * 3
    assert later != first


def behind(shells: int, call: list[str]) -> list[str]:
    """The call below so many shells that wait for it and do not become it."""
    for _ in range(shells):
        call = ["/bin/sh", "-c", shlex.join(call) + "; true"]
    return call


def run_by_dvc(stage: Path, call: list[str]) -> subprocess.Popen[str]:
    """A process in the place of dvc; prints its child's number when the stage has started."""
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)\n"
        "child.stdout.readline(); print(child.pid, flush=True); child.wait()\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *call],
        cwd=stage, env=environment(stage, DVC_STAGE="copying"), text=True, stdout=subprocess.PIPE,
    )  # fmt: skip


def gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while _running(pid):
        assert time.monotonic() < deadline, "the stage outlived dvc"
        time.sleep(0.05)


def _running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:  # A zombie waits for its reaper, and runs no more.
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
