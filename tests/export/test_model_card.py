from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

from headstart.backbones.record import BackboneSummary
from headstart.export.metrics import activation_of
from headstart.export.model_card import Data, card, markdown, text
from headstart.export.summary import describe
from headstart.training.model_folder import ModelRecord, Scores
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
        "right": 11,
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


def content(model: ModelRecord | None = None) -> dict[str, Any]:
    splits = ["train", "train", "validation", "test"]
    rows = [{"label": CLASSES[n % 3], "split": splits[n % 4]} for n in range(48)]
    intake = {
        "files": 50, "kept": 48, "duplicates": 0, "label_conflicts": 0, "rejected": 2,
        "rejected_by_reason": {"empty": 2}, "classes": {}, "bytes": 9,
    }  # fmt: skip
    evaluation = {"test_images": 12, "model": scores(), "head": scores()}
    data = Data(pd.DataFrame(rows), intake, evaluation)
    return card(model or record(), BACKBONE, data, PROCEDURE, SUMMARY)


def test_the_card_says_what_the_model_was_made_of_and_how_well_it_does() -> None:
    said = content()
    assert json.loads(json.dumps(said)) == said
    assert said["data"]["images"]["train"] == {CLASSES[0]: 8, CLASSES[1]: 8, CLASSES[2]: 8}
    assert said["data"]["rejected_by_reason"] == {"empty": 2}
    assert said["results"]["accuracy"] == 0.9123
    assert said["procedure"]["train_head"]["learning_rate"] == 0.01
    page = markdown(said, SUMMARY)
    assert "accuracy 0.9123 (95 % interval 0.8000 to 0.9500)" in page
    assert "50 files were found, 48 kept, 2 rejected (empty 2)." in page
    assert "| all | 24 | 12 | 12 |" in page
    assert "| fine_tune.augment | rotation 10, horizontal_flip True |" in page
    assert "| download.url | null |" in page
    assert "| Keras file | 1.23 | 5e-06 | 12 of 12 |" in page
    assert "git log --oneline -S NUMBER" in page
    assert "WARNING: RANDOM WEIGHTS" in page


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
    assert text(given) == shown


def test_what_it_always_does_depends_on_the_last_layer() -> None:
    sigmoid = record("sigmoid")
    assert activation_of(sigmoid) == "sigmoid"
    assert "probability of its own" in content(sigmoid)["limits"][0]
    assert activation_of(record()) == "softmax"
    assert "always names one" in content()["limits"][0]


def test_a_fine_tuned_model_says_what_was_trained() -> None:
    page = markdown(content(record(kind="fine_tuned", unfrozen_from="block_16")), SUMMARY)
    assert "fine-tuned from the layer `block_16` up" in page
    alone = record(kind="fine_tuned", unfrozen_from="block_16", unfrozen_alone=True)
    assert "fine-tuned in the layer `block_16` alone" in markdown(content(alone), SUMMARY)


def test_many_refusals_are_not_all_listed() -> None:
    refused = {f"class/{number}\x1b.bmp": "A BMP file." for number in range(25)}
    summary = {**SUMMARY, "images": 30, "left_out": {"tflite_int8": "no way to convert it"}}
    said = describe(summary, refused)
    assert "refuses 25 of 30" in said
    assert "and 5 more" in said
    assert "\x1b" not in said
    assert "Left out: tflite_int8: no way to convert it" in said
