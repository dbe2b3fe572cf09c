from __future__ import annotations

import dataclasses
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart._utils.errors import HeadstartError
from headstart._utils.files import (
    atomic_folder,
    sha256_bytes,
    sha256_file,
    sha256_tree,
    write_json,
)
from headstart.backbones.record import read_backbone
from headstart.datasets.manifests import read_split, write_split
from headstart.datasets.shards import ShardWriter, shard_of
from headstart.evaluation.predictions import read_predictions
from headstart.export.formats import FORMATS
from headstart.export.parity import load
from headstart.export.record import format_path, read_exported
from headstart.keras.export import export
from headstart.training.model_folder import read_head, read_model, write_model
from tests.images.made import encoded
from tests.stages import small_run
from tests.stages.small_run import ROOT, SmallRun, image, stage


@pytest.fixture(scope="module")
def untuned(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    """With the head, passed through, in ``untuned``."""
    run = small_run.make(tmp_path_factory.mktemp("run") / "files")
    tuned(run, "untuned", {"epochs": 0})
    return run


@pytest.fixture(scope="module")
def run(untuned: SmallRun) -> SmallRun:
    """The same with a fine-tuned model in ``tuned``."""
    tuned(untuned, "tuned", {"epochs": 2, "learning_rate": 1e-4, "batch_size": 8})
    return untuned


def tuned(run: SmallRun, name: str, params: dict[str, Any]) -> None:
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
        run_statistics=run.folder / "run_statistics",
    )
    assert done.returncode == 0, done.stderr
    evaluated(run, name)


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
        run_statistics=run.folder / "run_statistics",
        **{name: run.folder / f"{model}-{name}" for name in files},
    )
    assert done.returncode == 0, done.stderr


#: Of random weights, no closeness is asked that int8 could miss.
LOOSE: dict[str, Any] = {
    "formats": ["saved_model", "keras"],
    "parity_images": 200,
    "max_probability_difference": 1e-4,
    "min_agreement_encoded": 0.5,
    "min_agreement_float16": 0.5,
    "min_agreement_int8": 0.0,
    "calibration_images": 10,
}


def exported(
    run: SmallRun, model: str, name: str, **params: Any
) -> subprocess.CompletedProcess[str]:
    return stage(
        run,
        "export",
        {"export": {**LOOSE, **params}},
        images=run.images,
        manifest=run.manifest,
        download_metrics=download_metrics(run.folder),
        split_metrics=split_metrics(run.folder),
        backbone_folder=run.backbone,
        model=run.folder / model,
        predictions=run.folder / f"{model}-predictions",
        evaluation=run.folder / f"{model}-metrics",
        export_folder=run.folder / name,
        metrics=run.folder / f"{name}.json",
        run_statistics=run.folder / "run_statistics",
    )


def split_metrics(folder: Path) -> Path:
    """The metrics that the stage split would have written, without corrections."""
    path = folder / "split.json"
    write_json(path, {"images": {"train": 24, "validation": 12, "test": 12}})
    return path


def download_metrics(folder: Path) -> Path:
    """The metrics that the stage download would have written."""
    path = folder / "download.json"
    write_json(
        path,
        {
            "files": 50,
            "kept": 48,
            "duplicates": 0,
            "label_conflicts": 0,
            "rejected": 2,
            "rejected_by_reason": {"empty": 2},
        },
    )
    return path


STRANGER = """
import json, sys
import numpy as np
import tensorflow as tf, keras
folder, images, pixels, animation = sys.argv[1:]
contents = [open(p, "rb").read() for p in json.loads(images)]
served = tf.saved_model.load(folder + "/saved_model")
for _ in range(1):
    try:
        served.signatures["serving_default"](
            content=tf.constant([contents[0], open(animation, "rb").read()])
        )
    except tf.errors.InvalidArgumentError as error:
        assert "no image of a format" in str(error), error
    else:
        raise AssertionError("a WebP file was decoded")
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


@pytest.mark.pipeline
@pytest.mark.timeout(600)
def test_what_leaves_is_what_was_evaluated(run: SmallRun, tmp_path: Path) -> None:
    record = read_model(run.folder / "tuned")
    assert record.kind == "fine_tuned"
    done = exported(run, "tuned", "first", formats=list(FORMATS))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    metrics = json.loads((run.folder / "first.json").read_text())
    assert metrics["images"] == 12
    assert set(metrics["formats"]) == set(FORMATS)
    for name, form in FORMATS.items():
        if form.precision == "float32":
            assert metrics["formats"][name]["pixels"]["probability_differs_at_most"] <= 1e-4
            assert metrics["formats"][name]["pixels"]["same_first_guess"] == 12
    exported_model = read_exported(run.folder / "first")
    assert exported_model.classes == record.classes
    assert metrics["model_sha256"] == sha256_file(run.folder / "first/model.json")
    for name in FORMATS:
        assert format_path(run.folder / "first", exported_model, name).exists()
    listed = {file for form in exported_model.formats.values() for file in form.files}
    pages = {"README.md", "MODEL_CARD.md", "model_card.json", "model.json"}
    assert listed | pages | {"labels.json", "labels.txt"} == {
        path.relative_to(run.folder / "first").as_posix()
        for path in (run.folder / "first").rglob("*")
        if path.is_file()
    }

    from tests.images.made import pixels

    contents = [encoded(image(kind, 99), form) for kind, form in enumerate(("PNG", "JPEG", "GIF"))]
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


SNIPPETS = """
import json, re, sys
page = open("README.md", encoding="utf-8").read()
for number, block in enumerate(re.findall("```python\\n(.*?)```", page, re.DOTALL)):
    print("#", number, flush=True)
    exec(compile(block, f"block {number}", "exec"), globals())
"""


@pytest.mark.slow
def test_every_example_of_the_readme_runs_and_says_the_same(run: SmallRun, tmp_path: Path) -> None:
    if not (run.folder / "first").is_dir():
        assert exported(run, "tuned", "first", formats=list(FORMATS)).returncode == 0
    folder = tmp_path / "elsewhere"
    shutil.copytree(run.folder / "first", folder)
    # As large as the model wants it, and not compressed: no decoder or filter differs.
    (folder / "image.jpg").write_bytes(encoded(image(1, 77, side=32), "PNG"))
    done = subprocess.run(
        [sys.executable, "-c", SNIPPETS], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answers = [line.rsplit(" ", 1) for line in done.stdout.splitlines() if line[0] != "#"]
    assert len(answers) == len(FORMATS)
    assert {label for label, _ in answers} == {answers[0][0]}
    floats = [float(probability) for _, probability in answers]
    exact = [
        probability
        for probability, form in zip(floats, FORMATS.values(), strict=True)
        if form.precision == "float32"
    ]
    assert np.allclose(exact, exact[0], atol=1e-4)
    assert np.allclose(floats, exact[0], atol=0.2)


@pytest.mark.slow
def test_two_runs_give_the_same_bytes(run: SmallRun) -> None:
    formats = ["keras", "saved_model", "tflite_float16"]
    for name, order in (("one", formats), ("two", formats[::-1])):
        assert exported(run, "untuned", name, formats=order).returncode == 0
    assert sha256_tree(run.folder / "one") == sha256_tree(run.folder / "two")
    assert (run.folder / "one.json").read_bytes() == (run.folder / "two.json").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_format_has_the_same_bytes_alone_and_among_the_others(run: SmallRun) -> None:
    for number in range(2):
        assert exported(run, "untuned", f"among-{number}", formats=list(FORMATS)).returncode == 0
    assert sha256_tree(run.folder / "among-0") == sha256_tree(run.folder / "among-1")
    among = read_exported(run.folder / "among-0")
    for name in FORMATS:
        done = exported(run, "untuned", f"alone-{name}", formats=[name])
        assert done.returncode == 0, done.stderr
        alone = read_exported(run.folder / f"alone-{name}")
        assert alone.formats[name].files == among.formats[name].files, name


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("base", "head", "features", "tuned"),
    [
        ({"pooling": "none"}, {"activation": "sigmoid", "hidden": [8]}, "float32", False),
        ({"pooling": "max"}, {"activation": "sigmoid"}, "float32", True),
        ({"pooling": "none"}, {"normalization": "none"}, "float32", True),
        ({}, {"hidden": [8, 8]}, "float16", False),
        ({"name": "resnet50_v2", "alpha": 1.0}, {}, "float32", False),
        ({"name": "vgg16", "alpha": 1.0}, {}, "float32", False),
        ({"name": "headstart-small", "alpha": 1.0}, {}, "float32", True),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else str(value),
)
def test_every_kind_of_model_is_exported_in_every_format(
    base: dict[str, Any], head: dict[str, Any], features: str, tuned: bool, tmp_path: Path
) -> None:
    loss = {"sigmoid": "binary_crossentropy"}.get(
        head.get("activation", ""), "categorical_crossentropy"
    )
    params: dict[str, dict[str, Any]] = {
        "train_head": {"epochs": 3, "activation": "softmax", "loss": loss, **head},
        "extract_features": {"dtype": features, "engine": "litert"},
        "fine_tune": {
            "epochs": int(tuned), "batch_size": 8, "unfreeze_by": "count", "unfreeze": 4,
        },
        "export": {**LOOSE, "formats": list(FORMATS), "max_probability_difference": 1e-3},
    }  # fmt: skip
    run = small_run.make(tmp_path / "files", **base)
    images = {"images": run.images, "manifest": run.manifest}
    places = {name: tmp_path / name for name in ("f", "h", "t", "p", "m", "c", "k", "e", "b")}
    for name, paths in (
        ("extract_features", {
            "backbone_folder": run.backbone, "features": places["f"], **images,
        }),
        ("train_head", {
            "features": places["f"], "model": places["h"], "epoch_history": places["e"],
            "batch_history": places["b"],
        }),
        ("fine_tune", {
            "backbone_folder": run.backbone, "head": places["h"], "features": places["f"],
            "model": places["t"], "epoch_history": places["e"], **images,
        }),
        ("evaluate", {
            "features": places["f"], "head": places["h"], "model": places["t"],
            "predictions": places["p"], "metrics": places["m"], "confusion": places["c"],
            "calibration": places["k"], **images,
        }),
        ("export", {
            "download_metrics": download_metrics(tmp_path),
            "split_metrics": split_metrics(tmp_path), "backbone_folder": run.backbone,
            "model": places["t"],
            "predictions": places["p"], "evaluation": places["m"],
            "export_folder": tmp_path / "out", "metrics": tmp_path / "out.json", **images,
        }),
    ):  # fmt: skip
        done = stage(run, name, params, **paths, run_statistics=tmp_path / "run_statistics")
        assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "out.json").read_text())
    assert set(metrics["formats"]) == set(FORMATS)
    assert metrics["left_out"] == {}


@pytest.mark.slow
def test_a_head_on_the_pretrained_base_is_exported_as_well(run: SmallRun) -> None:
    done = exported(run, "untuned", "head-export", parity_images=5)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((run.folder / "head-export.json").read_text())
    assert metrics["kind"] == "head"
    assert metrics["images"] == 5
    assert "AVX" not in done.stderr


def test_an_export_of_another_model_than_the_evaluated_one_is_refused(untuned: SmallRun) -> None:
    run = untuned
    shutil.copy(run.folder / "untuned-predictions", run.folder / "mixed-predictions")
    shutil.copy(run.folder / "untuned-metrics", run.folder / "mixed-metrics")
    record = read_model(run.folder / "untuned")
    weights = read_head(run.folder / "untuned", record)
    bias = f"{len(record.head) - 1}.bias"
    weights[bias] = weights[bias][::-1]
    with atomic_folder(run.folder / "mixed") as folder:
        write_model(folder, record, weights)
    done = exported(run, "mixed", "refused", formats=["keras"])
    assert done.returncode == 1
    assert "nothing was exported" in done.stderr
    assert "keras: on the same pixels a probability differs by" in done.stderr
    assert not (run.folder / "refused").exists()
    assert not (run.folder / "refused.json").exists()
    assert not list(run.folder.glob(".refused*"))


@pytest.mark.slow
def test_a_format_that_litert_cannot_convert_is_left_out_and_reported(
    run: SmallRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from headstart.keras.export import litert
    from headstart.keras.export.reload import Source

    def refuse(source: Source, _target: Path) -> None:
        raise RuntimeError(f"error: no operation for {source.model.name}\nand many more lines")

    monkeypatch.setattr(litert, "write_float32", refuse)
    trained = export.Model.read(run.folder / "untuned", run.backbone)
    by_keras = dataclasses.replace(
        trained, backbone=trained.backbone.model_copy(update={"engine": "keras"})
    )
    test = read_split(run.manifest).query("split == 'test'")
    shown = export.Shown(*load(run.images, test, 32, None), calibration=None)
    run_statistics = run.run_statistics("export")
    readings, left_out = export.write_and_read(
        tmp_path, by_keras, ["tflite_float32", "keras"], shown, run_statistics
    )
    assert set(readings) == {"keras"}
    assert set(left_out) == {"tflite_float32"}
    said = capsys.readouterr().out
    assert "cannot be converted to the format tflite_float32: error: no operation for clas" in said
    assert "many more" not in said
    with pytest.raises(HeadstartError, match=r"no operation.*Nothing was exported. Remove it"):
        export.write_and_read(tmp_path, trained, ["tflite_float32"], shown, run_statistics)
    with pytest.raises(HeadstartError, match="None of the formats tflite_float32 can be made"):
        export.write_and_read(tmp_path, by_keras, ["tflite_float32"], shown, run_statistics)


def test_only_a_keras_backbone_may_lack_a_format_that_litert_cannot_convert(
    untuned: SmallRun,
) -> None:
    backbone = read_backbone(untuned.backbone)
    by_keras = backbone.model_copy(update={"engine": "keras"})
    assert export.may_lack("tflite_int8", by_keras)
    assert not export.may_lack("tflite_int8", backbone)
    assert not export.may_lack("onnx", by_keras)


def animated() -> bytes:
    """A WebP file of three frames."""
    frames = [image(kind, 300) for kind in range(3)]
    stream = io.BytesIO()
    frames[0].save(stream, "WEBP", save_all=True, append_images=frames[1:], duration=50)
    return stream.getvalue()


def unreadable(run: SmallRun) -> dict[str, tuple[bytes, str]]:
    """Some test images as files that Pillow reads and TensorFlow does not; others by path."""

    test = read_split(run.manifest).query("split == 'test'")["path"].tolist()
    return {
        test[0]: (encoded(image(0, 200).convert("P"), "BMP"), "bmp"),
        test[4]: (encoded(image(1, 201), "TIFF"), "tif"),
        test[7]: (animated(), "webp"),
    }


def with_images(run: SmallRun, new: dict[str, tuple[bytes, str]], folder: Path) -> SmallRun:
    """The manifest and the shards of a run, with other files in some places."""
    table = read_split(run.manifest)
    other = SmallRun(folder)
    other.images.mkdir(parents=True)
    contents, _ = load(run.images, table, 32, None)
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


@pytest.mark.pipeline
def test_images_that_tensorflow_cannot_read_are_counted_and_named(
    run: SmallRun, tmp_path: Path
) -> None:
    new = unreadable(run)
    other = with_images(run, new, tmp_path / "other")
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
            "metrics": tmp_path / "export.json", "download_metrics": download_metrics(tmp_path),
            "split_metrics": split_metrics(tmp_path),
            "evaluation": tmp_path / "m",
        }),
    ):  # fmt: skip
        done = stage(
            run,
            name,
            {"export": LOOSE},
            **common,
            **paths,
            run_statistics=tmp_path / "run_statistics",
        )
        assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "export.json").read_text())
    assert (metrics["images"], metrics["refused"]) == (12, 3)
    assert metrics["formats"]["keras"]["pixels"]["same_first_guess_share"] == 1.0
    from_files = metrics["formats"]["saved_model"]["encoded"]
    assert from_files["images"] == 9
    assert from_files["same_first_guess"] <= 9
    assert from_files["probability_differs_at_most"] <= 0.1
    for path in new:
        assert f"{path}: " in done.stdout
    assert "palette" in done.stdout
    assert "no image of a format" in done.stdout
    assert "{{" not in done.stdout
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["litert", "keras"])
def test_a_head_on_rounded_features_is_exported(engine: str, run: SmallRun, tmp_path: Path) -> None:
    small = {"name": "mobilenet_v2", "alpha": 0.35, "weights": "random", "image_size": 32}
    rounds: dict[str, dict[str, Any]] = {
        "export": LOOSE,
        "extract_features": {"dtype": "float16", "engine": engine},
        "backbone": {**small, "hub": None, "weights_sha256": None, "cut": None, "pooling": "avg"},
    }
    if engine == "keras":
        done = stage(
            run,
            "backbone",
            rounds,
            backbone_folder=tmp_path / "base",
            run_statistics=tmp_path / "run_statistics",
        )
        assert done.returncode == 0, done.stderr
    backbone = run.backbone if engine == "litert" else tmp_path / "base"
    features, model = tmp_path / "features", tmp_path / "model"
    predictions = tmp_path / "predictions"
    images: dict[str, Path] = {"images": run.images, "manifest": run.manifest}
    for name, paths in (
        ("extract_features", {**images, "backbone_folder": backbone, "features": features}),
        ("train_head", {
            "features": features, "model": model, "epoch_history": tmp_path / "e",
            "batch_history": tmp_path / "b",
        }),
        ("evaluate", {
            **images, "features": features, "head": model, "model": model,
            "predictions": predictions, "metrics": tmp_path / "m",
            "confusion": tmp_path / "c", "calibration": tmp_path / "k",
        }),
        ("export", {
            **images, "backbone_folder": backbone, "model": model, "predictions": predictions,
            "export_folder": tmp_path / "export", "metrics": tmp_path / "export.json",
            "download_metrics": download_metrics(tmp_path),
            "split_metrics": split_metrics(tmp_path), "evaluation": tmp_path / "m",
        }),
    ):  # fmt: skip
        done = stage(run, name, rounds, **paths, run_statistics=tmp_path / "run_statistics")
        assert done.returncode == 0, done.stderr
        assert "oneDNN" not in done.stderr
    metrics = json.loads((tmp_path / "export.json").read_text())
    assert metrics["formats"]["keras"]["pixels"]["probability_differs_at_most"] <= 1e-4
    assert metrics["rounding"]["probability_differs_at_most"] > 1e-7
    assert metrics["rounding"]["same_first_guess"] <= 12
    assert metrics["rounded_probability_difference_accepted"] == 0.01
    assert "rounded to float16" in done.stdout
    if engine == "litert":
        trained = export.Model.read(model, backbone)
        test = read_split(run.manifest).query("split == 'test'")
        _, batch = load(run.images, test, 32, None)
        evaluated = read_predictions(predictions, trained.record.classes).model
        export.unrounded(trained, batch, evaluated)
        with pytest.raises(HeadstartError, match="are not this model's"):
            export.unrounded(trained, batch, evaluated[::-1])


def test_help_is_quick() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "stages.export", "--help"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "tensorflow" not in done.stderr
