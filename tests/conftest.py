"""What tests share: where the real pictures and weights lie, and a store that is nobody's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# No test asserts a time: the same example is slow on a machine that is busy.
settings.register_profile("headstart", deadline=None)
settings.load_profile("headstart")
ROOT = Path(__file__).resolve().parent.parent


def shared_folder() -> Path:
    """Folder of real data sets and ImageNet weights; it may not exist."""
    return Path(os.environ.get("HEADSTART_SHARED", ROOT.parent / "shared")).resolve()


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = shared_folder()
    if not (folder / "datasets").is_dir():
        pytest.skip(f"needs real pictures and weights; {folder} does not exist (HEADSTART_SHARED)")
    return folder


@pytest.fixture(scope="session")
def imagenet_home(shared: Path) -> Path:
    home = shared / "keras"
    if not (home / "models").is_dir():
        pytest.skip(f"needs ImageNet weights; {home} does not exist")
    return home


@pytest.fixture(autouse=True)
def private_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has a feature store of its own; the user's is never touched."""
    store = tmp_path / "store"
    monkeypatch.setenv("HEADSTART_CACHE", str(store))
    return store
