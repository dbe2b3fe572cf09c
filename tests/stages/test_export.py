from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import export
from stages.artifacts.backbone_record import read_backbone
from stages.artifacts.manifest import read_split, write_split
from stages.artifacts.model_folder import read_model
from stages.artifacts.predictions import read_predictions
from stages.artifacts.shards import ShardWriter, shard_of
from stages.core.errors import HeadstartError
from stages.core.files import sha256_bytes, sha256_tree
from stages.core.params.export import ExportParams
from stages.engine import extraction
from stages.report import exported as exported_page
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
folder, pictures, pixels, animation = sys.argv[1:]
contents = [open(p, "rb").read() for p in json.loads(pictures)]
served = tf.saved_model.load(folder + "/saved_model")
for _ in range(5):  # The decoder would corrupt memory, which does not show at once.
    try:
        served.signatures["serving_default"](
            content=tf.constant([contents[0], open(animation, "rb").read()])
        )
    except tf.errors.InvalidArgumentError as error:
        assert "animated WebP" in str(error), error
    else:
        raise AssertionError("an animated WebP was decoded")
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
    (tmp_path / "animation").write_bytes(animated())
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, str(run.folder / "first"), json.dumps(paths),
         str(tmp_path / "pixels.npy"), str(tmp_path / "animation")],
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


def animated() -> bytes:
    """A WebP file of three frames."""
    frames = [picture(kind, 300) for kind in range(3)]
    stream = io.BytesIO()
    frames[0].save(stream, "WEBP", save_all=True, append_images=frames[1:], duration=50)
    return stream.getvalue()


def unreadable(run: SmallRun) -> dict[str, tuple[bytes, str]]:
    """Some test pictures as files that Pillow reads and TensorFlow does not; others by path."""

    test = read_split(run.manifest).query("split == 'test'")["path"].tolist()
    return {
        test[0]: (encoded(picture(0, 200).convert("P"), "BMP"), "bmp"),
        test[4]: (encoded(picture(1, 201), "TIFF"), "tif"),
        test[7]: (animated(), "webp"),
    }


def with_pictures(run: SmallRun, new: dict[str, tuple[bytes, str]], folder: Path) -> SmallRun:
    """The manifest and the shards of a run, with other files in some places."""
    table = read_split(run.manifest)
    other = SmallRun(folder)
    other.images.mkdir(parents=True)
    contents, _ = export.load(run.images, table, 32)
    files = {
        path: new.get(path, (content, Path(path).suffix.replace("jpeg", "jpg")[1:]))
        for path, content in zip(table["path"], contents, strict=True)
    }
    with ShardWriter(other.images) as writer:
        for content, extension in dict(files.values()).items():
            writer.add(content, extension)
        places = writer.finish()
    ids = [sha256_bytes(files[path][0]) for path in table["path"]]
    table["image_id"] = ids
    table["bytes"] = [len(files[path][0]) for path in table["path"]]
    table["shard"] = [shard_of(image_id) for image_id in ids]
    table["offset"] = [places[image_id].offset for image_id in ids]
    write_split(other.manifest, table)
    return other


def test_pictures_that_tensorflow_cannot_read_are_counted_and_named(
    run: SmallRun, tmp_path: Path
) -> None:
    new = unreadable(run)
    other = with_pictures(run, new, tmp_path / "other")
    features, predictions = tmp_path / "features", tmp_path / "predictions"
    common: dict[str, Path] = {"images": other.images, "manifest": other.manifest}
    for name, paths in (
        ("extract_features", {"backbone_folder": run.backbone, "features": features}),
        ("evaluate", {
            "features": features, "head": run.head, "model": run.folder / "untuned",
            "predictions": predictions, "metrics": tmp_path / "m",
            "confusion": tmp_path / "c", "calibration": tmp_path / "k",
        }),
        ("export", {
            "backbone_folder": run.backbone, "model": run.folder / "untuned",
            "predictions": predictions, "export_folder": tmp_path / "export",
            "metrics": tmp_path / "export.json",
        }),
    ):  # fmt: skip
        done = stage(run, name, {}, **common, **paths, journal=tmp_path / "journal")
        assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "export.json").read_text())
    assert (metrics["pictures"], metrics["refused"]) == (12, 3)
    assert metrics["keras"]["same_first_guess_share"] == 1.0
    assert metrics["saved_model_bytes"]["same_first_guess"] <= 9
    assert metrics["saved_model_bytes"]["probability_differs_at_most"] <= 0.1
    for path in new:
        assert f"{path}: " in done.stdout
    assert "palette" in done.stdout
    assert "animated WebP" in done.stdout
    assert "{{" not in done.stdout
    assert done.stderr == ""


def test_no_picture_left_to_compare_is_an_error() -> None:
    assert export.require_some({0: "why"}, 3) == [1, 2]
    with pytest.raises(HeadstartError, match=r"refuses all 2 .* TIFF"):
        export.require_some({0: "TIFF", 1: "TIFF"}, 2)


def test_many_refusals_are_not_all_listed(run: SmallRun) -> None:
    compared = dict.fromkeys(("keras", "saved_model_pixels"), (0.0, 30))
    record = read_model(run.folder / "tuned")
    params = ExportParams(parity_pictures=30, max_probability_difference=1e-4)
    summary = export.summarize({**compared, "saved_model_bytes": (0.0, 5)}, 30, 25, params, record)
    assert summary["saved_model_bytes"]["same_first_guess_share"] == 1.0
    refused = {f"class/{number}\x1b.bmp": "A BMP file." for number in range(25)}
    text = exported_page.describe(summary, refused)
    assert "same first guess on 5 of 5" in text
    assert "refuses 25 of 30" in text
    assert "and 5 more" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("engine", ["litert", pytest.param("keras", marks=pytest.mark.slow)])
def test_a_head_on_rounded_features_is_exported(engine: str, run: SmallRun, tmp_path: Path) -> None:
    small = {"name": "mobilenet_v2", "alpha": 0.35, "weights": "random", "image_size": 32}
    rounds: dict[str, dict[str, Any]] = {
        "extract_features": {"dtype": "float16", "engine": engine},
        "backbone": {**small, "weights_sha256": None, "cut": None, "pooling": "avg"},
    }
    assert vars(export)["KERAS_BATCH"] == vars(extraction)["KERAS_BATCH"]
    if engine == "keras":
        done = stage(
            run, "backbone", rounds, backbone_folder=tmp_path / "base", journal=tmp_path / "journal"
        )
        assert done.returncode == 0, done.stderr
    backbone = run.backbone if engine == "litert" else tmp_path / "base"
    features, model = tmp_path / "features", tmp_path / "model"
    predictions = tmp_path / "predictions"
    pictures: dict[str, Path] = {"images": run.images, "manifest": run.manifest}
    for name, paths in (
        ("extract_features", {**pictures, "backbone_folder": backbone, "features": features}),
        ("train_head", {
            "features": features, "model": model, "epoch_history": tmp_path / "e",
            "batch_history": tmp_path / "b",
        }),
        ("evaluate", {
            **pictures, "features": features, "head": model, "model": model,
            "predictions": predictions, "metrics": tmp_path / "m",
            "confusion": tmp_path / "c", "calibration": tmp_path / "k",
        }),
        ("export", {
            **pictures, "backbone_folder": backbone, "model": model, "predictions": predictions,
            "export_folder": tmp_path / "export", "metrics": tmp_path / "export.json",
        }),
    ):  # fmt: skip
        done = stage(run, name, rounds, **paths, journal=tmp_path / "journal")
        assert done.returncode == 0, done.stderr
        assert "oneDNN" not in done.stderr
    metrics = json.loads((tmp_path / "export.json").read_text())
    assert metrics["keras"]["probability_differs_at_most"] <= 1e-4
    assert metrics["rounding"]["probability_differs_at_most"] > 1e-7
    assert metrics["rounding"]["same_first_guess"] <= 12
    assert metrics["rounded_probability_difference_accepted"] == 0.01
    assert "rounded to float16" in done.stdout
    if engine == "litert":
        record = read_model(model)
        test = read_split(run.manifest).query("split == 'test'")
        _, batch = export.load(run.images, test, 32)
        evaluated = read_predictions(predictions, record.classes).model
        where = (record, read_backbone(backbone), backbone, model, batch)
        export.unrounded(*where, evaluated)
        with pytest.raises(HeadstartError, match="are not this model's"):
            export.unrounded(*where, evaluated[::-1])


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
    record, backbone = read_model(run.folder / "tuned"), read_backbone(run.backbone)
    text = exported_page.readme(record, backbone, export.not_covered())
    assert "serving_default" in text
    assert "keras.saving.load_model" in text
    assert "EXIF" in text
    assert "animated WebP" in text


def test_the_readme_says_loudly_that_the_weights_are_random(run: SmallRun) -> None:
    record, backbone = read_model(run.folder / "tuned"), read_backbone(run.backbone)
    assert backbone.random_weights
    lines = exported_page.readme(record, backbone, ()).splitlines()
    assert any("WARNING: RANDOM WEIGHTS" in line for line in lines[:4])
    trained = dataclasses.replace(backbone, random_weights=False)
    assert "random" not in exported_page.readme(record, trained, ()).lower()


def test_labels_of_several_lines_stay_a_line_each() -> None:
    assert exported_page.labels_text(("a", "b\nc")) == "a\nb c\n"


def test_help_is_quick() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "stages.export", "--help"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "tensorflow" not in done.stderr
