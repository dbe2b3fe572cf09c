from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import export
from stages.artifacts.model_folder import read_model
from stages.artifacts.predictions import read_predictions
from stages.core.errors import HeadstartError
from stages.core.files import sha256_tree
from tests.stages import small_run
from tests.stages.small_run import ROOT, SmallRun, encoded, picture, stage


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    """With a fine-tuned model in ``tuned`` and the head, passed through, in ``untuned``."""
    run = small_run.make(tmp_path_factory.mktemp("run") / "files")
    trains = {"epochs": 2, "learning_rate": 1e-4, "batch_size": 8}
    for name, params in (("tuned", trains), ("untuned", {"epochs": 0})):
        done = stage(
            run,
            "fine_tune",
            {"fine_tune": params},
            images=run.images,
            manifest=run.manifest,
            backbone_folder=run.backbone,
            head=run.head,
            features=run.features,
            model=run.folder / name,
            epoch_history=run.folder / "epochs.csv",
            journal=run.folder / "journal",
        )
        assert done.returncode == 0, done.stderr
        evaluated(run, name)
    return run


def evaluated(run: SmallRun, model: str) -> None:
    files = ("predictions", "metrics", "confusion", "calibration")
    done = stage(
        run,
        "evaluate",
        {},
        images=run.images,
        manifest=run.manifest,
        features=run.features,
        head=run.head,
        model=run.folder / model,
        journal=run.folder / "journal",
        **{name: run.folder / f"{model}-{name}" for name in files},
    )
    assert done.returncode == 0, done.stderr


def exported(
    run: SmallRun, model: str, name: str, **params: Any
) -> subprocess.CompletedProcess[str]:
    return stage(
        run,
        "export",
        {"export": params},
        images=run.images,
        manifest=run.manifest,
        backbone_folder=run.backbone,
        model=run.folder / model,
        predictions=run.folder / f"{model}-predictions",
        export_folder=run.folder / name,
        metrics=run.folder / f"{name}.json",
        journal=run.folder / "journal",
    )


STRANGER = """
import json, sys
import numpy as np
import tensorflow as tf, keras
folder, pictures, pixels = sys.argv[1:]
contents = [open(p, "rb").read() for p in json.loads(pictures)]
served = tf.saved_model.load(folder + "/saved_model")
answer = served.signatures["serving_default"](content=tf.constant(contents))
batch = np.load(pixels)
by_pixels = served.signatures["pixels"](pixels=tf.constant(batch))
model = keras.saving.load_model(folder + "/model.keras")
print(json.dumps({
    "labels": [label.decode() for label in answer["label"].numpy()],
    "classes": [[c.decode() for c in row] for row in answer["classes"].numpy()],
    "probability": answer["probability"].numpy().tolist(),
    "bytes": answer["probabilities"].numpy().tolist(),
    "pixels": by_pixels["probabilities"].numpy().tolist(),
    "keras": np.asarray(model(batch)).tolist(),
    "keras_floats": np.asarray(model(batch.astype(np.float32))).tolist(),
}))
"""


def test_what_leaves_is_what_was_evaluated_and_the_same_bytes(
    run: SmallRun, tmp_path: Path
) -> None:
    record = read_model(run.folder / "tuned")
    assert record.kind == "fine_tuned"
    for name in ("first", "second"):
        done = exported(run, "tuned", name)
        assert done.returncode == 0, done.stderr
    assert sha256_tree(run.folder / "first") == sha256_tree(run.folder / "second")
    assert (run.folder / "first.json").read_bytes() == (run.folder / "second.json").read_bytes()
    metrics = json.loads((run.folder / "first.json").read_text())
    assert metrics["pictures"] == 12
    assert metrics["keras"]["probability_differs_at_most"] <= 1e-4
    assert metrics["saved_model_pixels"]["same_first_guess"] == 12

    from stages.imaging.pixels import pixels

    contents = [
        encoded(picture(kind, 99), form) for kind, form in enumerate(("PNG", "JPEG", "GIF"))
    ]
    paths = []
    for number, content in enumerate(contents):
        paths.append(str(tmp_path / str(number)))
        Path(paths[-1]).write_bytes(content)
    batch = np.stack([pixels(content, 32) for content in contents])
    np.save(tmp_path / "pixels.npy", batch)
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, str(run.folder / "first"), json.dumps(paths),
         str(tmp_path / "pixels.npy")],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = {
        name: np.array(value) for name, value in json.loads(done.stdout.splitlines()[-1]).items()
    }
    names = list(record.classes)
    assert said["classes"].tolist() == [names] * 3
    assert said["labels"].tolist() == [names[i] for i in said["bytes"].argmax(axis=1)]
    assert np.allclose(said["probability"], said["bytes"].max(axis=1))
    assert np.allclose(said["pixels"], said["keras"], atol=1e-5)
    assert np.allclose(said["keras_floats"], said["keras"], atol=1e-6)
    # A level of 255 here and there is all that the two decoders differ in.
    assert np.allclose(said["bytes"], said["pixels"], atol=0.1)


@pytest.mark.slow
def test_a_head_on_the_pretrained_base_is_exported_as_well(run: SmallRun) -> None:
    done = exported(run, "untuned", "head-export", parity_pictures=5)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((run.folder / "head-export.json").read_text())
    assert metrics["kind"] == "head"
    assert metrics["pictures"] == 5
    assert "AVX" not in done.stderr


def test_predictions_of_another_model_are_refused(run: SmallRun) -> None:
    # The evaluated predictions of the untuned model in place of the tuned one's.
    record = read_model(run.folder / "tuned")
    ours = read_predictions(run.folder / "tuned-predictions", record.classes)
    others = read_predictions(run.folder / "untuned-predictions", record.classes)
    found = export.compare(ours.model, others.model)
    assert found[0] > 1e-4
    with pytest.raises(HeadstartError, match="Nothing was exported"):
        export.accept({"keras": found, "saved_model_pixels": (0.0, 12)}, 1e-4)
    with pytest.raises(HeadstartError, match="nan"):
        export.accept({"keras": (float("nan"), 0)}, 1e-4)


@pytest.mark.parametrize(("count", "wanted"), [(12, 200), (1000, 200), (7, 1), (1, 5)])
def test_the_choice_of_pictures_is_fixed_and_spread(count: int, wanted: int) -> None:
    chosen = export.choose(count, wanted)
    assert chosen == export.choose(count, wanted)
    assert len(chosen) == min(count, wanted)
    assert len(set(chosen)) == len(chosen)
    assert chosen[0] == 0
    assert chosen[-1] == (count - 1 if wanted > 1 else 0)


@pytest.mark.parametrize(
    ("difference", "bound"),
    [(0.0, 1e-7), (1e-7, 1e-7), (1.1e-7, 2e-7), (3e-5, 5e-5), (0.06, 0.1), (0.6, 1.0)],
)
def test_differences_are_told_as_bounds(difference: float, bound: float) -> None:
    assert export.at_most(difference) == bound


def test_the_readme_shows_how(run: SmallRun) -> None:
    from stages.artifacts.backbone_record import read_backbone

    text = export.readme(read_model(run.folder / "tuned"), read_backbone(run.backbone))
    assert "serving_default" in text
    assert "keras.saving.load_model" in text
    assert "EXIF" in text


def test_labels_of_several_lines_stay_a_line_each() -> None:
    assert export.labels_text(("a", "b\nc")) == "a\nb c\n"


def test_help_is_quick() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "stages.export", "--help"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "tensorflow" not in done.stderr
