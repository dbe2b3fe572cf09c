from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from headstart._utils import stamps
from headstart._utils.errors import SourceError
from headstart._utils.files import sha256_bytes
from headstart.images.png import canonical_png
from headstart.sources import fetched, preview
from headstart.sources.ingest import ingest
from headstart.sources.parameters import DownloadParams, open_source
from headstart.sources.preview import UnseenError
from tests.stages.test_download import parameters as params


def png(level: int) -> bytes:
    return canonical_png(np.full((16, 16), level, np.uint8))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve images of two classes, two of them alike, old enough to be remembered."""
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "pets"
    for number in range(12):
        add(root, f"{'cat' if number % 2 else 'dog'}/{number}.png", png(max(number, 1)))
    add(root, "cat/broken.png", png(200)[:-20])
    add(root, "cat/notes.txt", b"no image")
    return root


def add(root: Path, name: str, content: bytes) -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    os.utime(file, (1_000_000_000, 1_000_000_000))


def ingested(given: DownloadParams, location: Path, tmp_path: Path) -> pd.DataFrame:
    for name in ("shards", "thumbnails"):
        (tmp_path / name).mkdir()
    source = open_source(given, location)
    return ingest(source, given, tmp_path / "shards", tmp_path / "thumbnails").images


def key(images: pd.DataFrame) -> list[tuple[str, ...]]:
    columns = ["path", "image_id", "label", "predefined_split", "group"]
    return [tuple(row) for row in images[columns].itertuples(index=False)]


@pytest.mark.parametrize("kind", ["folder", "archive", "table"])
def test_it_is_what_download_will_write(kind: str, folder: Path, tmp_path: Path) -> None:
    given, location = params(source="folder"), folder
    if kind == "archive":
        location = tmp_path / "pets.zip"
        with zipfile.ZipFile(location, "w") as archive:
            for file in sorted(folder.rglob("*.*")):
                archive.write(file, file.relative_to(folder))
        given = params(source="archive", sha256=sha256_bytes(location.read_bytes()))
    if kind == "table":
        lines = ["path,label", "cat/1.png,cat", "dog/2.png,dog", "cat/no.png,cat"]
        add(folder, "table.csv", "\n".join(lines).encode())
        given = params(source="table", table="table.csv", path_column="path", label_column="label")
    found = preview.preview(given, location)
    assert found.exact
    assert key(found.images) == key(ingested(given, location, tmp_path))


def test_ten_more_images_are_ten_more(folder: Path, tmp_path: Path) -> None:
    given = params(source="folder")
    known = ingested(given, folder, tmp_path)
    before = preview.preview(given, folder, known)
    for number in range(10):
        add(folder, f"dog/new{number}.png", png(100 + number))
    add(folder, "dog/copy.png", png(5))
    after = preview.preview(given, folder, known)
    assert len(set(after.images["image_id"]) - set(before.images["image_id"])) == 10
    assert after.exact


def test_a_file_is_read_once_while_it_stays_as_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (folder / "dog/0.png").stat().st_ctime_ns > 0:  # the change time cannot be set back
        monkeypatch.setattr(stamps, "_YOUNG", -10_000_000_000)
    given, read = params(source="folder"), []

    def counted(content: bytes) -> str:
        read.append(content)
        return sha256_bytes(content)

    first = preview.preview(given, folder)
    monkeypatch.setattr(preview, "sha256_bytes", counted)
    again = preview.preview(given, folder)
    assert key(again.images) == key(first.images)
    assert png(7) not in read
    add(folder, "dog/0.png", png(77))
    changed = preview.preview(given, folder)
    assert png(77) in read
    assert key(changed.images) != key(first.images)


def test_other_limits_judge_again(folder: Path, tmp_path: Path) -> None:
    given = params(source="folder")
    known = ingested(given, folder, tmp_path)
    preview.preview(given, folder, known)
    with pytest.raises(SourceError):
        preview.preview(params(source="folder", root="nowhere"), folder, known)
    assert preview.preview(params(source="folder", min_side=17), folder, known).images.empty


def test_beyond_the_bound_it_is_no_longer_exact(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "MOST_DECODED", 3)
    found = preview.preview(params(source="folder"), folder)
    assert not found.exact
    assert len(found.images) == 13  # with the broken one, whose first bytes are right
    monkeypatch.setattr(preview, "MOST_READ", 10)
    monkeypatch.setattr(preview, "_CODE", [])  # by other code: no verdict is trusted
    with pytest.raises(UnseenError) as unseen:
        preview.preview(params(source="folder"), folder)
    assert unseen.value.most == 14  # the text, too, which nobody has looked into


def test_what_is_not_fetched_is_unknown_and_asks_no_server(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a server was asked")

    monkeypatch.setattr(fetched, "download_file", refuse)
    monkeypatch.setattr(fetched, "HttpClient", refuse)
    packed = tmp_path / "pets.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, file.relative_to(folder))
    digest = sha256_bytes(packed.read_bytes())
    given = params(source="archive", url="https://example.org/pets.zip", sha256=digest)
    with pytest.raises(UnseenError, match="until the archive has been fetched"):
        preview.preview(given, folder)
    add(tmp_path, f"cache/downloads/{digest}", packed.read_bytes())
    assert len(preview.preview(given, folder).images) == 12
    lines = ["path,url,label", "cat/1.png,,cat", ",https://example.org/a.png,dog"]
    add(folder, "table.csv", "\n".join(lines).encode())
    table = params(
        source="table", table="table.csv", path_column="path", url_column="url",
        label_column="label",
    )  # fmt: skip
    with pytest.raises(UnseenError, match="until 1 image of 1 with an address") as unseen:
        preview.preview(table, folder)
    assert unseen.value.most == 2
    kaggle = params(source="kaggle", name="owner/pets/versions/2")
    with pytest.raises(UnseenError, match="until the data set has been fetched"):
        preview.preview(kaggle, folder)


def test_it_needs_no_tensorflow() -> None:
    script = (
        "import sys; import headstart.cli.plan_costs, headstart.sources.preview, "
        "headstart.features.rates, headstart.features.estimate, headstart.backbones.downloads; "
        "print('tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
