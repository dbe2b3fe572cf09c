from __future__ import annotations

from pathlib import Path

import pytest

from headstart._utils.errors import UnfitError
from headstart.backbones.parameters import fit_handle, handle_name, is_address

ADDRESS = "https://tfhub.dev/google/imagenet/mobilenet_v2_100_224/feature_vector/5"


def test_what_a_handle_may_be(tmp_path: Path) -> None:
    (tmp_path / "module").mkdir()
    (tmp_path / "module/saved_model.pb").touch()
    (tmp_path / "module.tar.gz").touch()
    for handle in (ADDRESS, str(tmp_path / "module"), str(tmp_path / "module.tar.gz")):
        fit_handle(handle)
    assert is_address(ADDRESS)
    assert not is_address(str(tmp_path))


@pytest.mark.parametrize(
    ("handle", "why"),
    [
        ("gs://tfhub-modules/x", "tools of its store"),
        ("https:///x", "names no host"),
        ("nowhere", "nothing at"),
        ("empty", "holds no saved_model.pb"),
        ("model.h5", "not loaded"),
        ("x" * 5000, "nothing at"),
    ],
)
def test_what_is_none(
    handle: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "model.h5").touch()
    with pytest.raises(UnfitError, match=why):
        fit_handle(handle)


def test_a_name_for_people_keeps_secrets_and_folders_to_itself(tmp_path: Path) -> None:
    assert handle_name(ADDRESS) == ADDRESS
    assert handle_name("https://me:secret@host.org/a/b?key=secret") == "https://host.org/a/b"
    assert handle_name(str(tmp_path / "deep/module.tar.gz")) == "module.tar.gz"
    assert handle_name(str(tmp_path / "module/")) == "module"
