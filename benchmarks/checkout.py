"""Shared by the benchmarks: a throw-away copy of this project, measured processes, good images."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image
from ruamel.yaml import YAML

from headstart._utils.files import read_json

ROOT = Path(__file__).resolve().parent.parent
#: Options that several benchmarks have.
Archive = Annotated[Path, typer.Option(help="zip of class folders")]
Limit = Annotated[int | None, typer.Option(help="images per class; by default all")]
Size = Annotated[int, typer.Option(help="pixels per side")]
Repeats = Annotated[int, typer.Option(help="runs of each, in turn")]

_MEBIBYTE = 1 << 20 if sys.platform == "darwin" else 1024  # in the unit of ru_maxrss


@dataclass(frozen=True)
class Cost:
    """The cost of a process, with the children that it waited for.

    ``cpu`` is in seconds; on a machine with other work it says more than the clock's ``seconds``.
    ``megabytes`` is the largest memory of any one of the processes.
    """

    seconds: float
    cpu: float
    megabytes: float


def measured(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], *, check: bool = True
) -> tuple[Cost, str]:
    """Run a command in a folder to its end; return its cost and everything that it printed."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            arguments, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        printed = output.read()
    if check and process.returncode:
        message = f"{shlex.join(arguments)} ended with {process.returncode}:\n{printed}"
        raise RuntimeError(message)
    cpu = usage.ru_utime + usage.ru_stime
    return Cost(seconds, cpu, usage.ru_maxrss / _MEBIBYTE), printed


class Checkout:
    """The tracked files of the working tree in ``folder``, under git and DVC of their own.

    Parameters
    ----------
    folder : Path
        Created; must not exist.
    store : Path
        The feature store.
    keras_home : Path or None
        Where Keras finds pretrained weights.
    root : Path
        The working tree that is copied; by default, this one.
    """

    def __init__(
        self, folder: Path, store: Path, keras_home: Path | None = None, root: Path = ROOT
    ) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "HEADSTART_CACHE": str(store),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        # As on a user's machine: the second run of a module need not compile it.
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)
        if keras_home is not None:
            self.environment["KERAS_HOME"] = str(keras_home)
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=root, capture_output=True, check=True,
        ).stdout.decode()  # fmt: skip
        for name in filter(None, listed.split("\0")):
            source, target = root / name, folder / name
            if source.is_file() and name != "dvc.lock":
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
        self.git("init", "--quiet")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "start")

    def git(self, *arguments: str) -> str:
        """Run git in the copy, and return what it prints."""
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        return subprocess.run(
            ["git", *identity, *arguments],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip

    def set(self, **values: Any) -> None:
        """Change params.yaml: ``set(train_head__learning_rate=0.1)``."""
        yaml = YAML(typ="rt")
        path = self.folder / "params.yaml"
        document = yaml.load(path.read_text())
        for name, value in values.items():
            *sections, key = name.split("__")
            node = document
            for section in sections:
                node = node[section]
            node[key] = value
        with path.open("w") as file:
            yaml.dump(document, file)

    def measure(self, *arguments: str, check: bool = True) -> tuple[Cost, str]:
        """Run a command in the copy to its end; return its cost and everything that it printed."""
        return measured(arguments, self.folder, self.environment, check=check)

    def run(self, *arguments: str, check: bool = True) -> tuple[float, str]:
        """Run a command in the copy; return seconds and everything that it printed."""
        cost, printed = self.measure(*arguments, check=check)
        return cost.seconds, printed

    def repro(self, *arguments: str) -> tuple[float, str]:
        """Run ``dvc repro``."""
        return self.run("dvc", "repro", *arguments)

    def stage(self, name: str) -> list[str]:
        """Return the command by which dvc.yaml runs a stage."""
        document = YAML(typ="safe").load((self.folder / "dvc.yaml").read_text(encoding="utf-8"))
        python, *rest = shlex.split(document["stages"][name]["cmd"])
        if python != "python":
            raise ValueError(f"{name} is not run by python but by {python}")
        return [sys.executable, *rest]

    def statistics(self, name: str) -> dict[str, Any]:
        """Return the run statistics of a stage, or of the run: ``runtime``."""
        found: dict[str, Any] = read_json(self.folder / f"data/run_statistics/{name}.json")
        return found


def photo_project(folder: Path, images: Path, **changes: Any) -> Checkout:
    """Return a copy of the project for MobileNetV2 with ImageNet weights on a folder of images."""
    checkout = Checkout(folder / "project", folder / "store", keras_home())
    settings = {"source": "folder", "location": str(images)}
    backbone = {"name": "mobilenet_v2", "weights": "imagenet", "alpha": 1.0, "image_size": 224}
    checkout.set(
        **{f"download__{key}": value for key, value in settings.items()},
        **{f"backbone__{key}": value for key, value in backbone.items()},
    )
    checkout.set(**changes)
    return checkout


def start(main: Callable[..., None], description: str | None) -> None:
    """Run ``main`` with the command line's options; the help shows the description as it is."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(help="\b\n" + (description or "").replace("\n\n", "\n\n\b\n"))(main)
    app()


def keras_home() -> Path:
    """Return the folder that KERAS_HOME names, or end the process with a sentence."""
    home = os.environ.get("KERAS_HOME")
    if not home:
        sys.exit("KERAS_HOME must name the folder that has Keras' weights in `models`.")
    return Path(home).resolve()


def unpack(archive: Path, target: Path, per_class: int | None) -> list[Path]:
    """Unpack the images that Pillow can decode into class folders; return them sorted.

    One bad file stops Keras' loader, so no side of a comparison gets any.
    """
    counts: Counter[str] = Counter()
    found = []
    with zipfile.ZipFile(archive) as members:
        for name in sorted(members.namelist()):
            if name.endswith("/"):
                continue
            label, file = name.split("/")[-2:]
            content = members.read(name) if counts[label] != per_class else b""
            if content and decodes(content):
                counts[label] += 1
                found.append(target / label / file)
                found[-1].parent.mkdir(parents=True, exist_ok=True)
                found[-1].write_bytes(content)
    return found


def decodes(content: bytes) -> bool:
    """Return True if Pillow can decode the image to the end."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except (OSError, SyntaxError, ValueError):
        return False
    return True
