"""The declaration of a stage in dvc.yaml and in the code, read without importing the code."""

from __future__ import annotations

import ast
import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
KINDS = {
    "In": "in",
    "LazyIn": "in",
    "Out": "out",
    "Runtime": "runtime",
    "RunStatistics": "run_statistics",
    "Page": "page",
}


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


def stage_modules() -> list[str]:
    """Return the names of the modules in ``stages/``."""
    return sorted(p.stem for p in (ROOT / "stages").glob("*.py") if p.stem != "__init__")


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


def main_arguments(stage: str) -> dict[str, str]:
    """Argument of the stage's ``main`` to the name of its annotation."""
    tree = ast.parse((ROOT / "stages" / f"{stage}.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == "main":
            arguments = [*node.args.args, *node.args.kwonlyargs]
            return {
                a.arg: ast.unparse(a.annotation).rpartition(".")[2]
                for a in arguments
                if a.annotation
            }
    raise AssertionError(f"stages/{stage}.py has no main")


def code_dependencies(stage: str) -> list[str]:
    """Return the code that a stage depends on: its module and the rooms that it imports.

    Imports are followed to any depth. A room is the folder that holds a module, such as
    ``headstart/datasets``; a module beside sub-rooms is listed by its own name, so that an edit of
    one sub-room does not re-run the stages of the others. ``headstart/__init__.py`` is left out,
    because it decides nothing.
    """
    rooms = {
        _room(file).relative_to(ROOT).as_posix()
        for file in imported_files(stage)
        if file.parent not in {ROOT / "stages", ROOT / "headstart"}
    }
    return [f"stages/{stage}.py", *sorted(rooms, key=_floor)]


def _room(file: Path) -> Path:
    return file if next(file.parent.glob("*/*.py"), None) else file.parent


def imported_files(stage: str) -> set[Path]:
    """Return the files of this project that ``stages/STAGE.py`` imports, however deep."""
    found: set[Path] = set()
    waiting = [ROOT / "stages" / f"{stage}.py"]
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.add(file)
        waiting.extend(_imports(file))
    return {file for file in found if not (file.name == "__init__.py" and _only_docstring(file))}


def _floor(room: str) -> tuple[int, str]:
    """Return a sort key: the layers of pyproject.toml, from the top floor down."""
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    floors = [set(layer.split(" | ")) for layer in contract["contracts"][0]["layers"]]
    name = ".".join(room.split("/")[:2])
    return next(number for number, floor in enumerate(floors) if name in floor), room


def _only_docstring(file: Path) -> bool:
    body = ast.parse(file.read_text()).body
    return all(isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant) for n in body)


def _imports(file: Path) -> list[Path]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide what is imported"
            module = node.module or ""
            names.add(module)
            names.update(f"{module}.{alias.name}" for alias in node.names)
    files: list[Path] = []
    for name in names:
        if name.split(".")[0] not in {"stages", "headstart"}:
            continue
        parts = name.split(".")
        for depth in range(1, len(parts) + 1):
            base = ROOT.joinpath(*parts[:depth])
            files += [f for f in (base.with_suffix(".py"), base / "__init__.py") if f.is_file()]
    return files
