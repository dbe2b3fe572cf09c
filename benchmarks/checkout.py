"""A throw-away copy of this project, with a DVC cache and a feature store of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent


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
    """

    def __init__(self, folder: Path, store: Path, keras_home: Path | None = None) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "HEADSTART_CACHE": str(store),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        if keras_home is not None:
            self.environment["KERAS_HOME"] = str(keras_home)
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, check=True,
        ).stdout.decode()  # fmt: skip
        for name in filter(None, listed.split("\0")):
            source, target = ROOT / name, folder / name
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

    def run(self, *arguments: str, check: bool = True) -> tuple[float, str]:
        """Run a command in the copy; return seconds and everything that it printed."""
        start = time.perf_counter()
        done = subprocess.run(
            arguments, cwd=self.folder, env=self.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        if check and done.returncode:
            message = f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}"
            raise RuntimeError(message)
        return seconds, done.stdout

    def repro(self, *arguments: str) -> tuple[float, str]:
        """``dvc repro``."""
        return self.run("dvc", "repro", *arguments)
