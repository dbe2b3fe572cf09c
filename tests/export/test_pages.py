from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
import pytest

from headstart.backbones.record import BackboneRecord, BackboneSummary
from headstart.export.card import Data, card, procedure
from headstart.export.formats import FORMATS
from headstart.export.pages import describe, escaped, markdown, readme
from headstart.export.record import (
    ExportedFormat,
    FormatParity,
    activation_of,
    license_of,
    write_class_names,
)
from headstart.stage.parameters import read_params
from headstart.training.model_folder import ModelRecord, Scores
from tests.conftest import ROOT
from tests.export.test_record import model
from tests.training import models

CLASSES = ("<script>alert(1)</script>", "a | b", "c\nd")
BACKBONE = models.backbone(image_size=32, origin="made by chance")


def record(activation: str = "softmax", units: int = 3, **changes: Any) -> ModelRecord:
    fields: dict[str, Any] = {
        "kind": "head",
        "classes": CLASSES,
        "feature_shape": (1280,),
        "head": ({"kind": "dense", "units": units, "activation": activation},),
        "backbone": BackboneSummary(
            name="mobilenet_v2", alpha=0.35, weights="random", image_size=32, cut=None,
            pooling="avg", random_weights=True,
        ),
        "validation": Scores(loss=0.1, accuracy=0.9),
        "chosen_because": "epoch 3 had the lowest validation loss",
        **changes,
    }  # fmt: skip
    return ModelRecord(**fields)


def scores() -> dict[str, Any]:
    return {
        "accuracy": 0.912345678, "accuracy_low": 0.8, "accuracy_high": 0.95, "macro_f1": 0.9,
        "loss": 0.2, "expected_calibration_error": 0.05, "top_k": 3, "top_k_accuracy": 1.0,
        "correct": 11, "macro_auroc": 0.99,
        "per_class": [
            {"label": name, "precision": 1.0, "recall": 0.5, "f1": 2 / 3, "support": 4}
            for name in CLASSES
        ],
    }  # fmt: skip


SUMMARY: dict[str, Any] = {
    "formats": {
        "keras": {
            "bytes": 1_234_567,
            "pixels": {
                "images": 12,
                "probability_differs_at_most": 5e-06,
                "same_first_guess": 12,
                "same_first_guess_share": 1.0,
            },
        },
    },
    "kind": "head", "left_out": {}, "images": 12, "refused": 0,
}  # fmt: skip
PROCEDURE = {
    "seed": 42,
    "download": {"source": "folder", "url": None},
    "train_head": {"learning_rate": 0.01},
    "fine_tune": {"augment": {"rotation": 10, "zoom": 0, "horizontal_flip": True}},
}


def content(
    of: ModelRecord | None = None,
    backbone: BackboneRecord = BACKBONE,
    corrections: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    splits = ["train", "train", "validation", "test"]
    rows = [{"label": CLASSES[n % 3], "split": splits[n % 4]} for n in range(48)]
    download = {
        "files": 50, "kept": 48, "duplicates": 0, "label_conflicts": 0, "rejected": 2,
        "rejected_by_reason": {"empty": 2},
    }  # fmt: skip
    evaluation = {"test_images": 12, "model": scores(), "head": scores()}
    data = Data(pd.DataFrame(rows), download, corrections, evaluation)
    return card(of or record(), backbone, data, PROCEDURE, SUMMARY)


def test_the_card_says_what_the_model_was_made_of_and_how_well_it_does() -> None:
    said = content()
    assert json.loads(json.dumps(said)) == said
    assert said["data"]["images"]["train"] == {CLASSES[0]: 8, CLASSES[1]: 8, CLASSES[2]: 8}
    assert said["data"]["rejected_by_reason"] == {"empty": 2}
    assert said["results"]["accuracy"] == 0.9123
    assert said["procedure"]["train_head"]["learning_rate"] == 0.01
    page = markdown(said, SUMMARY)
    assert "95 % interval of the accuracy is\n0.8000 to 0.9500." in page
    assert "| Accuracy | 0.9123 |" in page
    assert "| Macro-averaged AUROC, one-vs-rest | 0.9900 |" in page
    assert "| Top-3 accuracy | 1.0000 |" in page
    assert "50 files were found, 48 kept, 2 rejected (empty 2)." in page
    assert "| all | 24 | 12 | 12 |" in page
    assert "| fine_tune.augment | rotation 10, horizontal_flip true |" in page
    assert "| download.url | null |" in page
    assert "| Keras file | 1.23 | 5e-06 | 12 of 12 |" in page
    assert "git log --oneline -S NUMBER" in page
    assert "WARNING: RANDOM WEIGHTS" in page


def test_the_card_states_the_bits_of_gray_images() -> None:
    assert content()["model"]["gray16_bits"] is None
    assert "of 16 bits" not in markdown(content(), SUMMARY)
    twelve = content(backbone=BACKBONE.model_copy(update={"gray16_bits": 12}))
    assert twelve["model"]["gray16_bits"] == 12
    page = markdown(twelve, SUMMARY)
    assert "\n\nGray images of 16 bits are read as 12 bits (`backbone.gray16_bits`): 4,095" in page


def test_the_card_counts_the_corrections() -> None:
    assert "corrections" not in content()["data"]
    assert "Corrected" not in markdown(content(), SUMMARY)
    counts = {
        "keep": 5, "remove": 1, "same_object": 2, "of_unknown_images": 0,
        "relabel": {"train": 9, "validation": 0, "test": 2},
    }  # fmt: skip
    said = content(corrections=counts)
    assert said["data"]["corrections"] == counts
    assert (
        "\n\nCorrected by people: 11 images relabeled (train 9, test 2), 1 image removed, 2 pairs "
        "held together, 5 labels or pairs confirmed. Each decision is a line of "
        "`data/corrections.csv` in the project.\n\n"
    ) in markdown(said, SUMMARY)


def test_class_names_stay_text() -> None:
    page = markdown(content(), SUMMARY)
    assert "<script" not in page.replace("\\<script", "")
    assert "a \\| b" in page
    assert "c d |" in page
    for line in page.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("a_b", "a_b"),
        ("_a_", "\\_a\\_"),
        ("x*y", "x\\*y"),
        ("\x1b[0m", " \\[0m"),
        ("a\\b", "a\\\\b"),
    ],
)
def test_markup_is_shown_and_not_obeyed(given: str, shown: str) -> None:
    assert escaped(given) == shown


def test_what_it_always_does_depends_on_the_last_layer() -> None:
    sigmoid = record("sigmoid")
    assert activation_of(sigmoid) == "sigmoid"
    assert "probability of its own" in content(sigmoid)["limits"][0]
    assert activation_of(record()) == "softmax"
    assert "always predicts one" in content()["limits"][0]


def test_a_fine_tuned_model_says_what_was_trained() -> None:
    page = markdown(content(record(kind="fine_tuned", unfrozen_from="block_16")), SUMMARY)
    assert "fine-tuned from the layer `block_16` up" in page
    alone = record(kind="fine_tuned", unfrozen_from="block_16", unfrozen_alone=True)
    assert "fine-tuned in the layer `block_16` only" in markdown(content(alone), SUMMARY)


def test_many_refusals_are_not_all_listed() -> None:
    refused = {f"class/{number}\x1b.bmp": "A BMP file." for number in range(25)}
    summary = {**SUMMARY, "images": 30, "left_out": {"tflite_int8": "no way to convert it"}}
    said = describe(summary, refused)
    assert "refuses 25 of 30" in said
    assert "and 5 more" in said
    assert "\x1b" not in said
    assert "Left out: tflite_int8: no way to convert it" in said


PARITY = FormatParity(images=12, probability_differs_at_most=1e-6, same_first_guess=12)


def page(folder: Path, names: list[Any], **changes: Any) -> str:
    formats = {
        name: ExportedFormat(
            files={FORMATS[name].path: "0" * 64}, bytes=1, parity={"pixels": PARITY}
        )
        for name in names
    }
    return readme(
        model(folder, formats=formats, **changes), SUMMARY, ("EXIF is read from JPEG only",)
    )


def test_there_is_an_example_for_each_format_and_for_no_other(tmp_path: Path) -> None:
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


def test_the_size_and_what_is_not_covered_are_reported(tmp_path: Path) -> None:
    said = page(tmp_path, ["saved_model", "keras"])
    assert "(n, 32, 32, 3)" in said
    assert "\nSIZE = 32\n" in said
    assert "- EXIF is read from JPEG only." in said
    assert "{" not in re.sub(r"```python.*?```", "", said, flags=re.DOTALL)


def test_the_readme_says_loudly_that_the_weights_are_random(tmp_path: Path) -> None:
    lines = page(tmp_path, ["keras"]).splitlines()
    assert any("WARNING: RANDOM WEIGHTS" in line for line in lines[:4])
    trained = model(tmp_path).backbone.model_copy(update={"random_weights": False})
    assert "random" not in page(tmp_path, ["keras"], backbone=trained).lower()


def test_labels_of_several_lines_stay_one_line_each(tmp_path: Path) -> None:
    write_class_names(tmp_path, ("a", "b\nc"))
    assert (tmp_path / "labels.txt").read_text(encoding="utf-8") == "a\nb c\n"


@pytest.mark.parametrize(
    ("weights", "said"), [("imagenet", "Apache-2.0"), ("mine.h5", "not known here")]
)
def test_the_license_is_that_of_known_weights(weights: str, said: str) -> None:
    assert said in license_of(BACKBONE.model_copy(update={"weights": weights}))


def test_the_card_states_the_parameters_that_had_an_effect() -> None:
    params = read_params(ROOT / "params.yaml")
    names = ("download", "split", "sample", "extract_features", "train_head", "fine_tune")
    stated = procedure(params.seed, {name: getattr(params, name) for name in names})
    assert stated["seed"] == params.seed
    assert set(stated["download"]) == {"source", "url", "sha256", "name"}
    assert stated["fine_tune"] == {"epochs": 0}
    assert "augment" not in stated["extract_features"]
    assert stated["train_head"] == params.train_head.model_dump()
