"""Masks and photographs: classes that a model tells apart without their content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.images.decode import Limits, inspect
from headstart.sources.kinds import differences, has_few_colors
from tests.archives.made import HONEST
from tests.images import made as make
from tests.stages.test_download import by_class, folder_of, run


def mask(seed: int, mode: str = "L", kind: str = "PNG") -> bytes:
    """Three values in blocks, as a trimap has."""
    blocks = np.random.Generator(np.random.Philox(key=seed)).integers(1, 4, (6, 8), np.uint8)
    image = Image.fromarray(np.kron(blocks, np.ones((8, 8), np.uint8)) * 60)
    return make.encoded(image.convert(mode), kind)


def test_few_colors() -> None:
    def few(content: bytes) -> bool:
        return has_few_colors(content, inspect(content, Limits()))

    for mode in ("L", "RGB", "P"):
        assert few(mask(1, mode))
    assert few(mask(1, "P", "GIF"))
    assert not few(make.png(64, 64))
    assert not few(mask(1, kind="JPEG"))
    assert not few(make.encoded(Image.new("L", (8, 8)), "PNG")), "too small to tell"
    assert not few(make.encoded(Image.new("I;16", (64, 64)), "PNG"))


@pytest.mark.parametrize("name", ["masken", "outlines"])
def test_a_class_of_masks_is_warned_of(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = {f"Pets/{name}/{number}.png": mask(number) for number in range(3)}
    folder = folder_of({**HONEST, **masks}, tmp_path / "in")
    counts = run(folder, tmp_path / "out", source="folder")
    assert by_class(counts)[name] == 3
    warned = capsys.readouterr().err
    assert f"WARNING: The class {name} has only images of 64 colors or fewer" in warned
    assert "the classes cat, dog have none of these" in warned
    assert f"({name}: png)" in warned


def test_classes_of_one_kind_are_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {f"{label}/{n}.png": mask(n + 9 * (label == "b")) for label in "ab" for n in range(3)}
    run(folder_of(files, tmp_path / "in"), tmp_path / "out", source="folder")
    run(folder_of(HONEST, tmp_path / "in2"), tmp_path / "out", source="folder")
    assert "WARNING" not in capsys.readouterr().err


def test_a_format_of_its_own() -> None:
    of = [("a", "png"), ("b", "jpeg"), ("c", "jpeg"), ("c", "webp")]
    rows = [{"label": label, "format": kind, "few": None} for label, kind in of]
    (said,) = differences(rows)
    assert "(a: png)" in said
    assert not differences([*rows, {"label": "b", "format": "png", "few": None}])
    assert not differences(rows[:1])
