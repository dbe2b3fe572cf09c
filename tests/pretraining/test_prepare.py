from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart._utils.errors import SourceError
from headstart._utils.files import read_json
from pretraining.prepare import members, obtain, prepare
from pretraining.settings import SourceParams

SOURCE = SourceParams(location="x.zip", sha256=None, per_class=2, image_size=32)


def test_both_layouts_are_read_and_only_training_images() -> None:
    names = [
        "tiny-imagenet-200/train/n02/images/n02_1.JPEG",
        "tiny-imagenet/train/n01/n01_1.webp",
        "tiny-imagenet-200/val/images/val_0.JPEG",
        "tiny-imagenet-200/train/n02/n02_boxes.txt",
        "tiny-imagenet-200/words.txt",
    ]
    assert members(names, None, 0) == [(names[0], "n02"), (names[1], "n01")]


def test_a_class_gives_as_many_as_asked_whatever_their_folder() -> None:
    names = [f"train/n01/{number}.JPEG" for number in range(20)]
    chosen = members(names, 5, 1)
    assert len(chosen) == 5
    moved = members([f"a/{name.replace('n01', 'n01/images')}" for name in names], 5, 1)
    assert [Path(name).name for name, _ in moved] == [Path(name).name for name, _ in chosen]


def _prepare(folder: Path) -> None:
    prepare(
        folder / "x.zip",
        folder / "images.npy",
        folder / "labels.npy",
        folder / "classes.json",
        SOURCE,
        seed=0,
    )


def test_an_archive_becomes_arrays(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for label, level in (("n07", 10), ("n05", 200)):
            content = io.BytesIO()
            Image.new("RGB", (64, 64), (level,) * 3).save(content, "PNG")
            archive.writestr(f"tiny/train/{label}/images/1.png", content.getvalue())
    _prepare(tmp_path)
    images = np.load(tmp_path / "images.npy", mmap_mode="r", allow_pickle=False)
    assert images.shape == (2, 32, 32, 3)
    assert images[:, 0, 0, 0].tolist() == [200, 10]
    assert np.load(tmp_path / "labels.npy").tolist() == [0, 1]
    assert read_json(tmp_path / "classes.json") == ["n05", "n07"]


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("cat/1.jpg", b"")
    with pytest.raises(SourceError, match="holds no images under train"):
        _prepare(tmp_path)


def test_another_sha256_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"x")
    with pytest.raises(SourceError, match="expected 000"):
        obtain(str(tmp_path / "x.zip"), "0" * 64, tmp_path)
    with pytest.raises(SourceError, match=r"source\.location"):
        obtain(str(tmp_path / "y.zip"), None, tmp_path)
