"""The names of ImageNet's classes, as Keras decodes by them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart._utils.errors import HeadstartError
from headstart.keras.networks import keras_files
from headstart.keras.networks.keras_files import (
    CLASS_COUNT,
    CLASS_INDEX,
    CLASS_INDEX_MD5,
    CLASS_INDEX_URL,
    ImageNetClass,
    read_classes,
)
from tests.downloads.server import serving
from tests.keras.networks.published import go_offline

INDEX = {str(place): [f"n{place:08}", f"name_{place}"] for place in reversed(range(CLASS_COUNT))}


def test_file_address_and_md5_are_those_of_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    from keras.src.applications import imagenet_utils

    asked: list[Any] = []

    def get_file(*words: Any, **named: Any) -> str:
        asked.extend([*words, named["file_hash"]])
        raise FileNotFoundError

    monkeypatch.setattr(imagenet_utils, "CLASS_INDEX", None)
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    with pytest.raises(FileNotFoundError):
        imagenet_utils.decode_predictions(np.zeros((1, CLASS_COUNT)))
    assert asked == [CLASS_INDEX, CLASS_INDEX_URL, CLASS_INDEX_MD5]


def test_it_is_downloaded_once_and_read_in_the_order_of_the_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = json.dumps(INDEX).encode()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    monkeypatch.setattr(keras_files, "CLASS_INDEX_MD5", digest)
    with serving(lambda request: request.serve(content)) as (url, seen):
        monkeypatch.setattr(keras_files, "CLASS_INDEX_URL", f"{url}/{CLASS_INDEX}")
        for _ in range(2):
            classes = read_classes()
            assert len(classes) == CLASS_COUNT
            assert classes[0] == ImageNetClass("n00000000", "name_0")
            assert classes[999] == ImageNetClass("n00000999", "name_999")
        assert len(seen) == 1


def test_without_a_network_only_what_helps_is_proposed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_offline(monkeypatch, tmp_path)
    with pytest.raises(HeadstartError, match=r"^The names of ImageNet's classes could not") as told:
        read_classes()
    for part in (CLASS_INDEX_URL, CLASS_INDEX, str(tmp_path / "models"), "put it into that folder"):
        assert part in str(told.value)
    assert "backbone" not in str(told.value)


@pytest.mark.shared
def test_every_name_is_the_one_that_keras_decodes(
    imagenet_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keras.applications.imagenet_utils import decode_predictions
    from keras.src.applications import imagenet_utils

    monkeypatch.setenv("KERAS_HOME", str(imagenet_home))
    classes = read_classes()
    held = json.loads((imagenet_home / "models" / CLASS_INDEX).read_bytes())
    monkeypatch.setattr(imagenet_utils, "CLASS_INDEX", held)
    decoded = decode_predictions(np.eye(CLASS_COUNT), top=1)
    assert [(one.synset, one.name) for one in classes] == [row[0][:2] for row in decoded]
    assert classes[281] == ImageNetClass("n02123045", "tabby")
    assert len({one.synset for one in classes}) == CLASS_COUNT
    assert len({one.name for one in classes}) == CLASS_COUNT - 2
