"""What is said of a format that could not be written."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from headstart.keras.export import export


def fail_with(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def writer(source: Any, path: Path) -> None:
        raise error

    monkeypatch.setattr(export, "resolve", lambda _: writer)


def write(folder: Path) -> None:
    source: Any = None
    export.write("tflite_float32", source, folder)


def test_an_error_of_a_converter_is_reported_with_the_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(monkeypatch, KeyError("no such operation"))
    with pytest.raises(export.NotConvertibleError, match="tflite_float32: 'no such operation'"):
        write(tmp_path)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "Input/output error", "model.tflite"),
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("RESOURCE_EXHAUSTED: model.tflite; No space left on device"),
    ],
    ids=["failing disk", "full disk", "full disk in other words"],
)
def test_a_disk_that_refuses_is_not_taken_for_a_model_that_cannot_be_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    fail_with(monkeypatch, error)
    with pytest.raises(type(error)) as raised:
        write(tmp_path)
    assert raised.value is error
