"""The declaration of a stage in dvc.yaml and in the code, read without importing the code."""

from __future__ import annotations

import shlex
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import grimp
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Declared:
    """A stage of dvc.yaml; ``${…}`` filled from params.yaml."""

    name: str
    module: str
    options: dict[str, str]
    deps: tuple[str, ...]
    outs: tuple[str, ...]
    params: tuple[str, ...]
    entry: dict[str, Any]

    @property
    def code_deps(self) -> tuple[str, ...]:
        """Modules and rooms."""
        return tuple(dep for dep in self.deps if _is_code(dep))

    @property
    def data_deps(self) -> tuple[str, ...]:
        """Everything else."""
        return tuple(dep for dep in self.deps if not _is_code(dep))


def _is_code(dep: str) -> bool:
    return dep.startswith(("stages/", "headstart/"))


def declared() -> dict[str, Declared]:
    """Return the stages of dvc.yaml by name."""
    yaml = YAML(typ="safe")
    document = yaml.load((ROOT / "dvc.yaml").read_text())
    location = yaml.load((ROOT / "params.yaml").read_text())["download"]["location"]
    return {name: _declared(name, entry, location) for name, entry in document["stages"].items()}


def _declared(name: str, entry: dict[str, Any], location: str) -> Declared:
    def fill(text: str) -> str:
        return text.replace("${download.location}", location)

    words = shlex.split(fill(entry["cmd"]))
    assert words[:2] == ["python", "-m"], f"{name}: cmd must start with `python -m`"
    pairs = dict(zip(words[3::2], words[4::2], strict=True))
    outs: list[str] = []
    for kind in ("outs", "metrics", "plots"):
        outs += [out if isinstance(out, str) else next(iter(out)) for out in entry.get(kind, [])]
    return Declared(
        name=name,
        module=words[2],
        options={key.removeprefix("--").replace("-", "_"): value for key, value in pairs.items()},
        deps=tuple(fill(dep) for dep in entry["deps"]),
        outs=tuple(outs),
        params=tuple(entry.get("params", [])),
        entry=entry,
    )


def code_dependencies(stage: str) -> list[str]:
    """Return the code that a stage depends on: its module and the rooms that it imports.

    Imports are followed to any depth. A room is the folder that holds a module, such as
    ``headstart/datasets``; a module beside sub-rooms is listed by its own name, so that an edit of
    one sub-room does not re-run the stages of the others. ``headstart/__init__.py`` is left out,
    because it decides nothing.
    """
    modules = _imports().find_upstream_modules(f"stages.{stage}")
    rooms = {_room(ROOT / module.replace(".", "/")) for module in modules - {"headstart"}}
    return [f"stages/{stage}.py", *sorted(rooms, key=_floor)]


def _room(module: Path) -> str:
    # A package: what imports it imports its `__init__.py`, which holds nothing but a docstring.
    folder = module if module.is_dir() else module.parent
    beside = not module.is_dir() and next(folder.glob("*/*.py"), None)
    return (module.with_suffix(".py") if beside else folder).relative_to(ROOT).as_posix()


@cache
def _imports() -> grimp.ImportGraph:
    return grimp.build_graph("headstart", "stages", cache_dir=None)


def _floor(room: str) -> tuple[int, str]:
    """Return a sort key: the layers of pyproject.toml, from the top floor down."""
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    floors = [set(layer.split(" | ")) for layer in contract["contracts"][0]["layers"]]
    name = ".".join(room.removesuffix(".py").split("/")[:2])
    return next(number for number, floor in enumerate(floors) if name in floor), room
