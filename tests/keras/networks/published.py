"""Files as keras.applications publishes its weights, and a machine that is not on the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import pytest
from keras.src.legacy.saving import legacy_h5_format

from headstart.downloads.client import RetryPolicy
from headstart.keras.networks import keras_files


def publish(model: Any, path: Path) -> bytes:
    """Write a model's weights in Keras' old format, in which its own files are; return them."""
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    return path.read_bytes()


def go_offline(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Keras' folder is empty, and nothing can be reached, wherever the test runs."""
    monkeypatch.setenv("KERAS_HOME", str(home))
    monkeypatch.setattr(keras_files, "POLICY", RetryPolicy(attempts=1))
    for name in ("HTTPS_PROXY", "https_proxy"):  # A proxy that refuses connections.
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
