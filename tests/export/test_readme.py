from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from headstart.export.formats import FORMATS
from headstart.export.readme import readme
from headstart.export.record import ExportedFormat, FormatParity
from headstart.export.summary import labels_text, license_of
from tests.export.test_model_card import BACKBONE, SUMMARY
from tests.export.test_record import model

PARITY = FormatParity(images=12, probability_differs_at_most=1e-6, same_first_guess=12)


def page(folder: Path, names: list[Any], **changes: Any) -> str:
    formats = {
        name: ExportedFormat(
            files={FORMATS[name].path: "0" * 64}, bytes=1, parity={"pixels": PARITY}
        )
        for name in names
    }
    return readme(
        model(folder, formats=formats, **changes), SUMMARY, ("EXIF is read of JPEG alone",)
    )


def test_there_is_an_example_for_each_form_and_for_no_other(tmp_path: Path) -> None:
    for name, form in FORMATS.items():
        said = page(tmp_path, [name])
        assert f"`{form.path}" in said
        others = {other.path for other in FORMATS.values()} - {form.path}
        assert not [path for path in others if f"`{path}" in said]
    everything = page(tmp_path, list(FORMATS))
    blocks = re.findall(r"```python\n(.*?)```", everything, re.DOTALL)
    assert len(blocks) == len(FORMATS) + 1
    for number, block in enumerate(blocks):
        compile(block, f"block {number}", "exec")


def test_the_size_and_what_is_not_covered_are_said(tmp_path: Path) -> None:
    said = page(tmp_path, ["saved_model", "keras"])
    assert "(n, 32, 32, 3)" in said
    assert ".resize((32, 32)," in said
    assert "- EXIF is read of JPEG alone." in said
    assert "{" not in re.sub(r"```python.*?```", "", said, flags=re.DOTALL)


def test_the_readme_says_loudly_that_the_weights_are_random(tmp_path: Path) -> None:
    lines = page(tmp_path, ["keras"]).splitlines()
    assert any("WARNING: RANDOM WEIGHTS" in line for line in lines[:4])
    trained = model(tmp_path).backbone.model_copy(update={"random_weights": False})
    assert "random" not in page(tmp_path, ["keras"], backbone=trained).lower()


def test_labels_of_several_lines_stay_a_line_each() -> None:
    assert labels_text(("a", "b\nc")) == "a\nb c\n"


@pytest.mark.parametrize(
    ("weights", "said"), [("imagenet", "Apache-2.0"), ("mine.h5", "not known here")]
)
def test_the_license_is_that_of_known_weights(weights: str, said: str) -> None:
    assert said in license_of(dataclasses.replace(BACKBONE, weights=weights))
