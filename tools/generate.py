"""Write the generated files: ``python -m tools.generate contract | runtime | docs | plots``."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import typer
from ruamel.yaml import YAML

from tools.badges import accuracy_badge, license_badge, python_badge
from tools.contract import ROOT, code_dependencies, declared

#: Packages whose version can change an output's bytes.
DECISIVE = (
    "ai-edge-litert",
    "h5py",
    "keras",
    "numpy",
    "pandas",
    "pillow",
    "scikit-learn",
    "tensorflow",
)


def runtime_text() -> str:
    """Return runtime.txt as requirements.lock has it."""
    lock = (ROOT / "requirements.lock").read_text()
    lines = ["# The versions that decide the bytes of the outputs. Written by `make runtime`."]
    for name in DECISIVE:
        match = re.search(rf"^{re.escape(name)}==(\S+)", lock, re.MULTILINE)
        assert match, f"{name} is not in requirements.lock"
        lines.append(f"{name}=={match[1]}")
    return "\n".join(lines) + "\n"


def contract_text() -> str:
    """Return dvc.yaml with the code dependencies that follow from the imports.

    In each list of ``deps``, the entries from the stage's own module to the closing bracket are
    replaced; everything else stays as it is.
    """
    text = (ROOT / "dvc.yaml").read_text()
    for name in declared():
        entries = textwrap.fill(
            ", ".join(code_dependencies(name)), 100, initial_indent=" " * 6,
            subsequent_indent=" " * 6, break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
        text, count = re.subn(rf"\s*stages/{name}\.py[^\]]*(?=\])", f"\n{entries}", text)
        assert count == 1, f"dvc.yaml: `deps` of {name} must be a list in brackets with its module"
    return text


def parameters_page() -> str:
    """Return docs/reference/parameters.md: the keys of params.yaml, comments and defaults."""
    lines = [
        "# Parameters",
        "",
        "Generated from `params.yaml` by `make docs`. A wrong value stops the run in under a",
        "second, with the line, the expectation and the value. `headstart params` checks the file",
        "without running anything; `dvc exp run -S train_head.learning_rate=0.01` tries a value.",
    ]
    heading = None
    for section, key, value, comment in _commented_keys((ROOT / "params.yaml").read_text()):
        if section != heading:
            heading = section
            lines += [
                "",
                f"## {section or 'seed'}",
                "",
                "| key | default | meaning |",
                "|---|---|---|",
            ]
        name = f"{section}.{key}" if section else key
        lines.append(f"| `{name}` | `{value}` | {comment.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def _commented_keys(text: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield section, key, value and comment of every leaf; adjacent keys share a comment."""
    document = YAML(typ="safe").load(text)
    sections: list[str] = []
    comment, fresh = "", False
    for line in text.splitlines():
        bare, depth = line.strip(), (len(line) - len(line.lstrip())) // 2
        if bare.startswith("#"):
            comment = f"{comment} {bare[1:].strip()}" if fresh else bare[1:].strip()
            fresh = True
        elif not bare or bare.startswith("- "):
            comment, fresh = ("", False) if not bare else (comment, False)
        else:
            fresh = False
            key = bare.partition(":")[0]
            sections = [*sections[:depth], key]
            value = document
            for part in sections:
                value = value[part]
            if not isinstance(value, dict):
                shown = bare.partition(":")[2].strip() or ", ".join(map(str, value))
                yield ".".join(sections[:-1]), key, shown, comment or "see its name"


def stages_page() -> str:
    """Return docs/reference/stages.md: what each stage reads and writes, from dvc.yaml."""
    lines = [
        "# Stages",
        "",
        "Generated from `dvc.yaml` by `make docs`. Every stage runs by itself, with any paths:",
        "`python -m stages.split --help`.",
    ]
    for name, stage in declared().items():
        doc = ast.get_docstring(ast.parse((ROOT / "stages" / f"{name}.py").read_text())) or ""
        lines += ["", f"## {name}", "", doc, ""]
        lines += ["| | |", "|---|---|"]
        lines += [f"| parameters | {', '.join(f'`{p}`' for p in stage.params)} |"]
        lines += [f"| reads | {', '.join(f'`{d}`' for d in stage.data_deps)} |"]
        lines += [f"| writes | {', '.join(f'`{o}`' for o in stage.outs)} |"]
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """Return docs/reference/commands.md: the help texts as they are printed."""
    from headstart.cli.app import app

    lines = ["# Commands", "", "Generated from the help texts by `make docs`.", ""]
    lines += ["## headstart", "", "```", help_text(), "```"]
    for words in command_paths(app):
        lines += ["", f"## headstart {' '.join(words)}", "", "```", help_text(*words), "```"]
    return "\n".join(lines) + "\n"


def command_paths(app: typer.Typer) -> list[tuple[str, ...]]:
    """Return every subcommand, and the subcommands of these."""
    group: Any = typer.main.get_command(app)
    found: list[tuple[str, ...]] = []
    for name, command in sorted(group.commands.items()):
        found.append((name,))
        found += [(name, below) for below in getattr(command, "commands", ())]
    return found


def help_text(*command: str) -> str:
    """Return what ``headstart COMMAND --help`` prints at a width of 80 columns."""
    result = subprocess.run(
        [sys.executable, "-m", "headstart", *command, "--help"],
        cwd=ROOT, capture_output=True, text=True, check=True,
        env={**os.environ, "COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1"},
    )  # fmt: skip
    return "\n".join(line.rstrip() for line in result.stdout.strip().splitlines())


def default_recipe() -> str:
    """Return recipes/default.yaml: every value of params.yaml, without its comments."""
    lines = [
        "# Back to the values that params.yaml comes with: digits, a small backbone, head only",
        "#",
        "#   headstart recipe default",
        "#   dvc repro",
        "#",
        "# Claim: none. It undoes other recipes and your own values; comments stay as they are.",
        "#",
        "# Measured: data/metrics/evaluate.json, as it is committed with dvc.lock.",
        "#",
        "# Changed, and why: nothing. Generated from `params.yaml` by `make docs`.",
    ]
    kept = [
        re.sub(r"\s+#.*", "", line)
        for line in (ROOT / "params.yaml").read_text().splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]
    return "\n".join([*lines, *kept]) + "\n"


PAGES = {
    "docs/reference/parameters.md": parameters_page,
    "docs/reference/stages.md": stages_page,
    "docs/reference/commands.md": commands_page,
    "docs/badges/accuracy.svg": accuracy_badge,
    "docs/badges/license.svg": license_badge,
    "docs/badges/python.svg": python_badge,
    "recipes/default.yaml": default_recipe,
}


if __name__ == "__main__":
    what = sys.argv[1:]
    if what == ["runtime"]:
        (ROOT / "runtime.txt").write_text(runtime_text())
    elif what == ["contract"]:
        (ROOT / "dvc.yaml").write_text(contract_text())
    elif what == ["plots"]:
        from tools import plots_page

        plots_page.PAGE.write_text(plots_page.plots_page(), encoding="utf-8")
    elif what == ["docs"]:
        for page, text in PAGES.items():
            (ROOT / page).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / page).write_text(text())
    else:
        sys.exit(__doc__)
