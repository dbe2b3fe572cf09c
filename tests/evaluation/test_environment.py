from __future__ import annotations

import json
import platform

import pytest

from headstart.evaluation.environment import environment


def test_the_environment_is_recorded_and_stays_the_same() -> None:
    found = environment({"numpy": "0", "no-such-package": "1"})
    assert found == environment({"no-such-package": "1", "numpy": "0"})
    assert found["python"] == platform.python_version()
    assert found["packages"]["no-such-package"] == "not installed"
    assert found["packages"]["numpy"][0].isdigit()
    assert found["cpu"]
    assert found["cores"] >= 1
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(("value", "told"), [(None, "default"), ("0", "off"), ("1", "on")])
def test_the_setting_of_one_dnn(
    monkeypatch: pytest.MonkeyPatch, value: str | None, told: str
) -> None:
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    if value is not None:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", value)
    found = environment({})
    assert found["one_dnn"] == told
    assert found["variables"].get("TF_ENABLE_ONEDNN_OPTS") == value
