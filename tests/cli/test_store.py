"""`headstart store`: what is listed, checked, removed, and carried elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart.cli import store_files
from headstart.features.store import FeatureStore, fingerprint, view_key
from headstart.pipeline import features_in_use as module
from headstart.pipeline.features_in_use import InUse, features_in_use
from tests.cli.running import run

RECORD = {"backbone": "mobilenet_v2", "image_size": 96, "cut": None, "engine": "litert"}
OTHER = {**RECORD, "image_size": 64, "augment": {"rotation": 1}}
IDS = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(5)]


def fill(record: dict[str, Any], shape: tuple[int, ...] = (2, 3), view: int = 0) -> str:
    with FeatureStore(record, shape) as store:
        for number, image_id in enumerate(IDS):
            store.put_many([(view_key(image_id, view), np.full(shape, number / 7))], seconds=0.5)
        return store.fingerprint


@pytest.fixture
def stores() -> tuple[str, str]:
    return fill(RECORD), fill(OTHER, view=3)


def folder_of(private_store: Path, name: str) -> Path:
    return private_store / "features" / f"{name}.sqlite"


def test_an_empty_store_is_said(private_store: Path) -> None:
    assert run("store") == f"0 stores in {private_store / 'features'}, 0 KB.\n"


def test_stores_are_listed_with_their_size(stores: tuple[str, str]) -> None:
    said = run("store")
    for name in stores:
        assert name[:12] in said
    assert "mobilenet_v2, 96 px, litert, 2×3" in said
    assert "mobilenet_v2, 64 px, augmented views, litert, 2×3" in said
    assert said.splitlines()[-1].startswith("2 stores in ")
    assert "today" in said


def test_damage_is_found_and_removed(stores: tuple[str, str], private_store: Path) -> None:
    assert run("store", "verify").count("5 rows, intact") == 2
    with sqlite3.connect(folder_of(private_store, stores[0])) as connection:
        connection.execute("UPDATE features SET crc = crc + 1 WHERE rowid = 2")
    connection.close()
    assert "5 rows, 1 damaged" in run("store", "verify", stores[0][:6], code=1)
    assert "4 rows, intact" in run("store", "verify", stores[0][:6])
    folder_of(private_store, stores[1]).write_bytes(b"no database")
    assert "cannot be read" in run("store", "verify", code=1)


def test_what_is_old_is_removed_only_if_asked(stores: tuple[str, str], private_store: Path) -> None:
    old = folder_of(private_store, stores[0])
    past = time.time() - 40 * 86_400
    os.utime(old, (past, past))
    assert "1 store, " in run("store", "prune", "--days", "30")
    assert old.exists()
    assert "Removed: 1 store" in run("store", "prune", "--days", "30", "--remove")
    assert not old.exists()
    assert folder_of(private_store, stores[1]).exists()
    assert "Name the stores to prune" in run("store", "prune", "--remove", code=2)


def test_what_no_commit_uses_is_removed(
    stores: tuple[str, str], private_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headstart.cli import store

    monkeypatch.setattr(store, "require_project", lambda *_, **__: None)
    used = InUse(frozenset(stores[:1]), ("0123456789abcdef",))
    monkeypatch.setattr(module, "features_in_use", lambda _: used)
    said = run("store", "prune", "--unused", "--remove", code=1)
    assert "features of 1 version of this project (0123456789ab) are not in DVC's cache" in said
    assert all(folder_of(private_store, name).exists() for name in stores)
    monkeypatch.setattr(module, "features_in_use", lambda _: InUse(used.fingerprints, ()))
    run("store", "prune", "--unused", "--remove")
    assert [folder_of(private_store, name).exists() for name in stores] == [True, False]


def test_commits_name_the_fingerprints_that_they_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = tmp_path / "cache" / "files" / "md5"
    monkeypatch.setattr(module, "cache_folder", lambda _: tmp_path / "cache")

    def put(value: Any, ending: str = "") -> str:
        content = json.dumps(value).encode()
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest() + ending
        path = objects / md5[:2] / md5[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return md5

    def lock(*names: str) -> None:
        header = {"fingerprint": names[0], "views": {"fingerprint": names[-1]}}
        listing = put([{"md5": put(header), "relpath": "features.json"}], ".dir")
        outs = [{"path": "data/features", "md5": listing}]
        document = {"stages": {"extract_features": {"outs": outs}}}
        (tmp_path / "dvc.lock").write_text(json.dumps(document))

    def git(*words: str) -> None:
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    for names in (["a"], ["b", "c"]):
        lock(*names)
        git("add", "dvc.lock")
        git("commit", "-qm", "run")
    lock("d")
    assert features_in_use(tmp_path) == InUse(frozenset("abcd"), ())
    for path in objects.rglob("*"):
        if path.is_file() and b'"b"' in path.read_bytes():
            path.unlink()
    found = features_in_use(tmp_path)
    assert found.fingerprints == frozenset("ad")
    assert len(found.unknown) == 1


@pytest.mark.parametrize("name", ["out", "out.parquet"])
def test_features_come_back_as_they_were(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stores: tuple[str, str]
) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    target = tmp_path / name
    assert "5 rows" in run("store", "export", stores[1][:5], str(target))
    again = tmp_path / f"again-{name}"
    run("store", "export", stores[1], str(again))
    if target.is_dir():
        assert np.load(target / "features.npy").shape == (5, 2, 3)
        for path in target.iterdir():
            assert path.read_bytes() == (again / path.name).read_bytes()
    with FeatureStore(OTHER, (2, 3)) as store:
        keys = store.keys()
        expected = store.array(keys)
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "elsewhere"))
    assert "5 added, 0 known already" in run("store", "import", str(target))
    assert "0 added, 5 known already" in run("store", "import", str(target))
    with FeatureStore(OTHER, (2, 3)) as store:
        assert store.keys() == keys == sorted(view_key(image_id, 3) for image_id in IDS)
        assert np.array_equal(store.array(keys), expected)
        assert store.passes == 0


def test_known_features_are_never_replaced(tmp_path: Path, stores: tuple[str, str]) -> None:
    run("store", "export", stores[0], str(tmp_path / "out"))
    array = np.load(tmp_path / "out" / "features.npy")
    np.save(tmp_path / "out" / "features.npy", array + 1)
    run("store", "import", str(tmp_path / "out"))
    with FeatureStore(RECORD, (2, 3)) as store:
        assert np.array_equal(store.array(store.keys()), array)


@pytest.mark.parametrize("damage", ["record", "format", "rows", "shape", "ids", "nan", "nothing"])
def test_what_is_no_export_is_refused(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stores: tuple[str, str]
) -> None:
    folder = tmp_path / "out"
    run("store", "export", stores[0], str(folder))
    record, table = folder / store_files.RECORD, folder / store_files.TABLE
    if damage == "record":
        record.write_text("[]")
    elif damage == "format":
        record.write_text(record.read_text().replace('"format": 1', '"format": 2'))
    elif damage == "rows":
        table.write_text("\n".join(table.read_text().splitlines()[:-1]) + "\n")
    elif damage == "shape":
        np.save(folder / store_files.ARRAY, np.zeros((5, 4), np.float32))
    elif damage == "ids":
        table.write_text(table.read_text().replace(min(IDS), "../x"))
    elif damage == "nan":
        np.save(folder / store_files.ARRAY, np.full((5, 2, 3), np.nan, np.float32))
    else:
        record.unlink()
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "elsewhere"))
    run("store", "import", str(folder), code=1)
    with FeatureStore(RECORD, (2, 3)) as store:
        assert store.keys() == []


def test_a_name_that_begins_none_or_several_is_refused(stores: tuple[str, str]) -> None:
    assert "begins no fingerprint" in run("store", "verify", "xyz", code=2)
    assert "begins several" in run("store", "export", "", "out", code=2)
    assert fingerprint(RECORD) == stores[0]


def test_nothing_is_overwritten(tmp_path: Path, stores: tuple[str, str]) -> None:
    (tmp_path / "out").mkdir()
    assert "exists already" in run("store", "export", stores[0], str(tmp_path / "out"), code=2)
