"""What tests share: where the real images and weights lie, and a store that is nobody's."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import settings

from headstart._utils import machine

# No test asserts a time: the same example is slow on a machine that is busy.
settings.register_profile("headstart", deadline=None)
settings.load_profile("headstart")

# Tests share a process, in which TensorFlow takes its number of threads once: before the first
# operation, whichever test that is in, and the same on every machine.
THREADS = 2
machine.cores = lambda: THREADS


class _Configured(importlib.abc.MetaPathFinder):
    """Has TensorFlow set up as the stages do, as soon as a test imports it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "headstart.keras.runtime":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            module.configure(THREADS)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]  # of this one
        return spec


sys.meta_path.insert(0, _Configured())
ROOT = Path(__file__).resolve().parent.parent


def shared_folder() -> Path:
    """Folder of real data sets and ImageNet weights; it may not exist."""
    return Path(os.environ.get("HEADSTART_SHARED", ROOT.parent / "shared")).resolve()


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = shared_folder()
    if not (folder / "datasets").is_dir():
        pytest.skip(f"needs real images and weights; {folder} does not exist (HEADSTART_SHARED)")
    return folder


@pytest.fixture(scope="session")
def imagenet_home(shared: Path) -> Path:
    home = shared / "keras"
    if not (home / "models").is_dir():
        pytest.skip(f"needs ImageNet weights; {home} does not exist")
    return home


@pytest.fixture(scope="session", autouse=True)
def suite_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what is made once, also named HEADSTART_SUITE: all workers have the same."""
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    os.environ["HEADSTART_SUITE"] = str(folder)
    return folder


@pytest.fixture(autouse=True)
def private_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a feature store of its own; the user's is never touched."""
    store = tmp_path / "store"
    monkeypatch.setenv("HEADSTART_CACHE", str(store))
    return store


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A server on this machine that speaks S3, and credentials that are nobody's."""
    pytest.importorskip("moto", reason="needs the development requirements")
    from tests.objects.server import serving

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANOBODY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2hunter2")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as server:
        yield server
