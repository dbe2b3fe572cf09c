"""A tiny project that ran once, and its stages as processes of their own."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from ruamel.yaml import YAML

from benchmarks.checkout import Checkout
from headstart._utils.files import read_json, sha256_tree, write_json
from tests.images.made import encoded
from tests.stages.small_run import image

#: Two classes of 12 images; all splits have some of each.
PER_CLASS = 12
SETTINGS: dict[str, Any] = {
    "download__source": "folder",
    "split__validation": 0.25,
    "split__test": 0.25,
    "sample__train_per_class": 5,
    "sample__validation_per_class": None,
    "train_head__epochs": 2,
    "fine_tune__epochs": 1,
    "fine_tune__learning_rate": 0.001,
    "export__formats": ["tflite_float32"],
    "export__parity_images": 4,
    "make_report__images": 2,
}


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code (negative: the signal), and what it printed."""

    code: int
    stdout: str
    stderr: str


class Project:
    """A project in which ``dvc repro`` ran once.

    Parameters
    ----------
    folder : Path
        As :func:`make` left it.

    Attributes
    ----------
    clean : dict of str to str
        The hash of every output and metric by its path, as that run wrote them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.store = folder / "store"
        self._said = folder / f"said-{os.getpid()}"
        self._said.mkdir(exist_ok=True)
        named = ("HEADSTART_FAULT", "DVC_STAGE", "DVC_ROOT")
        self.variables = {
            **{name: value for name, value in os.environ.items() if name not in named},
            "DVC_NO_ANALYTICS": "1",
            "HEADSTART_CACHE": str(self.store),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.folder),
        }
        self.clean: dict[str, str] = read_json(folder / "clean.json")
        self._server: subprocess.Popen[str] | None = None

    @cached_property
    def pipeline(self) -> dict[str, Any]:
        """The stages of dvc.yaml, in their order."""
        text = (self.folder / "dvc.yaml").read_text(encoding="utf-8")
        found: dict[str, Any] = YAML(typ="safe").load(text)["stages"]
        return found

    @property
    def stages(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self.pipeline)

    def outputs(self, stage: str) -> list[str]:
        """Return the outputs and metrics of a stage."""
        declared = self.pipeline[stage]
        return [
            path
            for each in (*declared.get("outs", ()), *declared.get("metrics", ()))
            for path in ([each] if isinstance(each, str) else each)
        ]

    def readers(self, path: str) -> list[str]:
        """Return the stages that read an output."""
        return [name for name, each in self.pipeline.items() if path in each["deps"]]

    def hashes(self, *stages: str) -> dict[str, str]:
        """Return the hashes of the outputs that exist."""
        paths = [path for stage in stages for path in self.outputs(stage)]
        return {
            path: sha256_tree(self.folder / path)
            for path in paths
            if os.path.lexists(self.folder / path)
        }

    def wanted(self, stage: str) -> dict[str, str]:
        """Return the hashes of a stage's outputs in the clean run."""
        return {path: self.clean[path] for path in self.outputs(stage)}

    def remove_outputs(self, stage: str) -> None:
        """Do what DVC does before it starts a stage."""
        for path in self.outputs(stage):
            remove(self.folder / path)

    def environment(self, stage: str, *, dvc: bool = True, **variables: str) -> dict[str, str]:
        """Return the variables with which DVC starts a stage, or those of a stage by hand."""
        of_dvc = {"DVC_STAGE": stage, "DVC_ROOT": str(self.folder)} if dvc else {}
        return {**self.variables, **of_dvc, **variables}

    def words(self, stage: str) -> list[str]:
        """Return the words after ``python -m`` of a stage's command in dvc.yaml."""
        python, option, *rest = shlex.split(self.pipeline[stage]["cmd"])
        assert (python, option) == ("python", "-m")
        return rest

    def run(self, stage: str, *, dvc: bool = True, **variables: str) -> Ended:
        """Run a stage in a process that is forked from one with the libraries."""
        with self.started(stage, dvc=dvc, **variables) as (_, ended):
            return ended()

    @contextmanager
    def started(
        self, stage: str, *, dvc: bool = True, **variables: str
    ) -> Iterator[tuple[int, Callable[[], Ended]]]:
        """Start a stage so; yield its process and a function that waits for its end."""
        said = {name: str(self._said / f"{name}.txt") for name in ("stdout", "stderr")}
        job = {
            "words": self.words(stage),
            "environment": self.environment(stage, dvc=dvc, **variables),
            **said,
        }
        server = self._warm()
        print(json.dumps(job), file=_of(server.stdin), flush=True)
        process = int(self._answer())

        codes: list[int] = []

        def ended() -> Ended:
            codes.append(int(self._answer()))
            texts = [
                Path(path).read_text(encoding="utf-8", errors="replace") for path in said.values()
            ]
            return Ended(codes[0], *texts)

        try:
            yield process, ended
        finally:
            if not codes:  # A test that failed has not asked; the next job awaits its own answers.
                self._answer()

    def really(self, stage: str, **variables: str) -> subprocess.Popen[str]:
        """Start a stage as dvc.yaml says, with an interpreter of its own."""
        return self.start([sys.executable, "-m", *self.words(stage)], stage, **variables)

    def start(self, words: list[str], stage: str = "", **variables: str) -> subprocess.Popen[str]:
        """Start a command in the project, in a session of its own."""
        known = self.environment(stage) if stage else self.variables
        return subprocess.Popen(
            words, cwd=self.folder, env={**known, **variables}, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def call(self, *words: str) -> Ended:
        """Run a command in the project, such as the cure that a message names."""
        done = subprocess.run(
            words, cwd=self.folder, env=self.variables, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        return Ended(done.returncode, done.stdout, done.stderr)

    def leftovers(self) -> list[str]:
        """Return the unfinished files and folders in the project and its cache."""
        places = (self.folder / "data", self.store)
        return [str(path) for place in places for path in place.rglob("*.part")]

    def close(self) -> None:
        """End the forking process."""
        if self._server is not None:
            _of(self._server.stdin).close()
            self._server.wait(30)
            _of(self._server.stdout).close()

    def _warm(self) -> subprocess.Popen[str]:
        if self._server is None:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.warm"], cwd=self.folder,
                env=self.variables, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
            assert self._answer() == "ready"
        return self._server

    def _answer(self) -> str:
        assert self._server is not None
        line = _of(self._server.stdout).readline()
        assert line, "the forking process ended"
        return line.strip()


def make(folder: Path) -> Project:
    """Make the project in a folder and run it."""
    checkout = Checkout(folder / "project", folder / "store")
    checkout.environment |= {"DVC_NO_ANALYTICS": "1", "PYTHONPATH": str(checkout.folder)}
    checkout.environment.pop("HEADSTART_FAULT", None)
    for kind, label in enumerate(("blue", "green")):
        for number in range(PER_CLASS):
            path = checkout.folder / "data/raw" / label / f"{number:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(image(kind, number, 24), "PNG"))
    # A file that is rejected has a thumbnail.
    whole = (checkout.folder / "data/raw/blue/00.png").read_bytes()
    (checkout.folder / "data/raw/green/broken.png").write_bytes(whole[:-200])
    checkout.set(**SETTINGS)
    checkout.repro()
    checkout.git("add", "--all")
    checkout.git("commit", "--quiet", "--message", "ran")
    write_json(folder / "clean.json", {})
    found = Project(folder)
    write_json(folder / "clean.json", found.hashes(*found.stages))
    return Project(folder)


def _of(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


_REMOVE = re.compile(r"(?:[Rr]emove|[Dd]elete) (\S+) and run `(dvc [^`]+)`")
_COMMAND = re.compile(r"`((?:dvc|headstart) [^`]+)`")
#: For those who want something else, or have what this project lacks: a remote, another disk.
_OTHER_WAYS = ("dvc commit", "dvc pull", "dvc cache")


def follow(project: Project, message: str) -> list[str]:
    """Do what a message says: remove the file that it names, run the commands that it names.

    Returns
    -------
    list of str
        What was done.
    """
    removal = _REMOVE.search(message)
    if removal:
        remove(project.folder / removal[1])
    done = [f"remove {removal[1]}"] if removal else []
    for command in _COMMAND.findall(message):
        if not command.startswith(_OTHER_WAYS):
            ended = project.call(*shlex.split(command))
            assert ended.code == 0, f"{command}: {ended.stdout}{ended.stderr}"
            done.append(command)
    return done


def explained(message: str, *, names: Mapping[str, str]) -> None:
    """Assert that what a stage printed is a message for people, which holds all of ``names``."""
    assert "Traceback" not in message, message
    assert "Error: " in message, message
    for what, text in names.items():
        assert text in message, f"the message names no {what} ({text}):\n{message}"
