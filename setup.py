"""Copies the pipeline's own files into the wheel; everything else is in pyproject.toml."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


class BuildWithProject(build_py):
    """Adds ``headstart/_shipped`` to the built library; an editable install reads the checkout."""

    def run(self) -> None:
        """Build, then copy."""
        super().run()
        if self.editable_mode:
            return
        patterns = runpy.run_path(str(ROOT / "headstart" / "projects" / "shipped.py"))["PATTERNS"]
        target = Path(self.build_lib) / "headstart" / "_shipped"
        shutil.rmtree(target, ignore_errors=True)
        for pattern in patterns:
            for source in ROOT.glob(pattern):
                copy = target / source.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, copy)


setup(cmdclass={"build_py": BuildWithProject})
