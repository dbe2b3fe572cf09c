"""The project of :mod:`tests.api.project`, and caches with a backbone in them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.api import project as projects


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return projects.shared(tmp_path_factory)


@pytest.fixture
def project(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project, as the current folder."""
    monkeypatch.chdir(made / "project")
    return made / "project"


@pytest.fixture
def cached(made: Path, private_store: Path) -> Path:
    """A cache of its own that holds the backbone of the run, the default one, and no feature."""
    shutil.copytree(made / "cache" / "backbones", private_store / "backbones")
    return private_store


@pytest.fixture
def cache_of_the_run(made: Path, private_store: Path) -> Path:
    """A copy of the cache that the stages of the run filled."""
    shutil.copytree(made / "cache", private_store)
    return private_store
