"""Images through a backbone once: whichever way they come, and whoever asked first."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

import headstart as hs
from headstart.api import backbones
from headstart.api.checks import ArgumentError
from headstart.images.png import canonical_png
from tests.api.project import IMAGE_SIZE, NAME
from tests.conftest import ROOT
from tests.images.made import jpeg, pixels, png

WIDTH = 576


def photo(seed: int, side: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def counts(extractor: hs.FeatureExtractor) -> tuple[int, int, int]:
    passes = extractor.passes_
    return passes.images, passes.done, passes.cached


@pytest.mark.usefixtures("cache_of_the_run")
def test_what_the_pipeline_passed_is_not_passed_again(project: Path) -> None:
    """The stage extracted these images: the API finds every one of them, with the same bytes."""
    run = hs.load_run(project)
    extractor = hs.FeatureExtractor(NAME, image_size=IMAGE_SIZE)
    for split in ("train", "validation", "test"):
        wanted, rows = run.features(split)
        images = run.images[run.images["split"] == split]
        found = extractor.transform(run.files(images))
        assert counts(extractor) == (len(rows), 0, len(rows))
        assert list(images["image_id"]) == list(rows["image_id"])
        assert found.tobytes() == wanted.tobytes()


@pytest.mark.usefixtures("cached")
def test_the_same_pixels_pass_once_whichever_way_they_come(tmp_path: Path) -> None:
    arrays = [photo(seed) for seed in range(4)]
    contents = [canonical_png(array) for array in arrays]
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    extractor = hs.FeatureExtractor(image_size=IMAGE_SIZE)
    first = extractor.transform(np.stack(arrays))
    assert first.shape == (4, WIDTH)
    assert first.dtype == np.float32
    assert counts(extractor) == (4, 4, 0)
    ways: list[Any] = [
        arrays,
        contents,
        paths,
        [str(path) for path in paths],
        np.array([str(path) for path in paths]),
        np.array([[str(path)] for path in paths], dtype=object),
        pd.Series(paths),
        pd.DataFrame({"label": list("abcd"), "path": [str(path) for path in paths]}),
        pd.DataFrame({"photo": paths}),
        (path for path in paths),
    ]
    for way in ways:
        assert extractor.transform(way).tobytes() == first.tobytes()
        assert counts(extractor) == (4, 0, 4)
    again = extractor.transform([paths[1], contents[1], arrays[1], paths[0]])
    assert counts(extractor) == (4, 0, 2)
    assert again.tobytes() == first[[1, 1, 1, 0]].tobytes()


@pytest.mark.usefixtures("cached")
def test_arrays_may_be_gray_or_transparent_and_of_any_size() -> None:
    gray, clear = photo(1)[..., 0], np.dstack([photo(2, 50), np.zeros((50, 50), np.uint8)])
    extractor = hs.FeatureExtractor(image_size=IMAGE_SIZE)
    found = extractor.transform([gray, gray[..., None], np.dstack([gray] * 3), clear])
    # Gray as a file is another one than gray in three channels, but they look the same.
    assert counts(extractor) == (4, 3, 0)
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()
    white = np.full((50, 50, 3), 255, np.uint8)
    assert found[3].tobytes() == extractor.transform([white])[0].tobytes()
    assert extractor.transform(np.stack([gray, gray])).shape == (2, WIDTH)
    assert extractor.transform([]).shape == (0, WIDTH)


@pytest.mark.usefixtures("cached")
def test_files_are_decoded_as_in_the_pipeline() -> None:
    content = jpeg(200, 90, seed=3)
    extractor = hs.FeatureExtractor(image_size=IMAGE_SIZE)
    from_file, from_pixels = extractor.transform([content, pixels(content, IMAGE_SIZE)])
    np.testing.assert_array_equal(from_file, from_pixels)


@pytest.mark.usefixtures("cached")
def test_bad_images_are_listed_with_reasons_and_nothing_passes(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_bytes(b"no image at all")
    images = [png(30, 30), tmp_path / "text.jpg", b"", tmp_path / "absent.png", png(30, 30)[:-40]]
    extractor = hs.FeatureExtractor(image_size=IMAGE_SIZE)
    with pytest.raises(hs.RejectedImagesError) as caught:
        extractor.transform(images)
    rejected = caught.value.rejected
    assert rejected["reason"].to_dict() == {
        1: "not_an_image", 2: "empty", 3: "unreadable", 4: "truncated",
    }  # fmt: skip
    text = str(caught.value)
    assert "4 of 5 images" in text
    assert "Nothing was computed" in text
    assert f"{tmp_path / 'absent.png'}: unreadable" in text
    assert extractor.rejected(images).equals(rejected)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == text
    assert again.rejected.equals(rejected)
    extractor.transform(images[:1])
    assert counts(extractor) == (1, 1, 0)


def test_a_long_list_of_bad_images_is_cut() -> None:
    rejected = pd.DataFrame({"path": ["x"] * 25, "reason": "empty", "detail": "d"})
    text = str(hs.RejectedImagesError(rejected, 30))
    assert text.count("x: empty: d") == 10
    assert "and 15 more" in text


@pytest.mark.usefixtures("cached")
@pytest.mark.parametrize(
    ("images", "error", "match"),
    [
        ("photo.jpg", TypeError, "a single str; write it as a list"),
        (b"bytes", TypeError, "a single bytes"),
        (photo(1), ValueError, "a single image\\? Write it as a list"),
        (np.zeros((2, 4, 4, 3), np.float32), ValueError, "float32"),
        (np.zeros((2, 5)), ValueError, "of shape \\(2, 5\\)"),
        (np.array([["a", "b"]]), ValueError, "of shape \\(1, 2\\)"),
        ([photo(1).astype(float)], ValueError, "Image 0 is an array of .* float64"),
        ([np.zeros((4, 4, 2), np.uint8)], ValueError, "Image 0 is an array"),
        ([b"", 3], TypeError, "Image 1 is of type int"),
        (pd.DataFrame({"a": [1], "b": [2]}), ValueError, "columns a, b"),
    ],
)
def test_what_are_no_images_is_refused(images: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        hs.FeatureExtractor(image_size=IMAGE_SIZE).transform(images)


def test_a_manifest_is_refused_with_the_way_out(project: Path) -> None:
    with pytest.raises(ValueError, match=r"run\.files\(rows\)"):
        hs.FeatureExtractor().transform(hs.load_run(project).images)


@pytest.mark.usefixtures("cached")
def test_it_is_a_transformer_of_scikit_learn() -> None:
    extractor = hs.FeatureExtractor(image_size=IMAGE_SIZE)
    assert clone(extractor).get_params() == extractor.get_params()
    assert repr(pickle.loads(pickle.dumps(extractor))) == repr(extractor)
    # Its input are images, so that scikit-learn has no data of its own to try it with.
    with pytest.warns(UserWarning, match="Can't test estimator"):
        results = check_estimator(extractor, on_skip=None)
    assert {result["status"] for result in results} == {"passed"}
    images = pd.Series([png(30, 30, seed=seed) for seed in range(2)], index=["a", "b"])
    table = extractor.set_output(transform="pandas").fit_transform(images)
    names = extractor.get_feature_names_out()
    assert table.columns.tolist() == names.tolist()
    assert names[0] == f"{NAME}_0"
    assert table.index.tolist() == ["a", "b"]


@pytest.mark.usefixtures("cached")
def test_it_works_in_front_of_a_head() -> None:
    images = [(photo(seed) // 2 + 100 * (seed % 2)).astype(np.uint8) for seed in range(24)]
    y = ["dark", "bright"] * 12
    extractor = hs.FeatureExtractor(image_size=IMAGE_SIZE)
    pipeline = make_pipeline(extractor, hs.HeadClassifier())
    assert cross_val_score(pipeline, images, y, cv=3).mean() > 0.9
    extractor.transform(images)
    assert counts(extractor) == (24, 0, 24)
    assert pipeline.fit(images, y).predict(images[:2]).tolist() == ["dark", "bright"]


def test_the_backbone_is_prepared_once_by_a_process_of_its_own(
    cached: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    extractor = hs.FeatureExtractor(image_size=IMAGE_SIZE)
    extractor.transform([photo(1)])
    assert not capfd.readouterr().err
    folders = sorted(path for path in (cached / "backbones").iterdir() if path.is_dir())
    assert len(folders) == 2
    found, record = extractor._prepared()
    assert found in folders
    assert record.image_size == IMAGE_SIZE
    network = found / "backbone.tflite"
    content = network.read_bytes()
    network.write_bytes(content[:-1] + b"?")
    extractor.transform([photo(1)])
    said = capfd.readouterr().err
    assert "The backbone is prepared again." in said
    assert network.read_bytes() == content
    assert counts(extractor) == (1, 0, 1)


def test_two_processes_prepare_it_once(private_store: Path) -> None:
    script = (
        "import headstart as hs, numpy as np; e = hs.FeatureExtractor('mobilenet_v2', alpha=0.35,"
        "weights='random', image_size=32); e.transform(np.zeros((2, 9, 9, 3), 'uint8'));"
        "print(e.passes_.done)"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=200) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert sorted(out.strip() for out, _ in outputs) == ["0", "1"]
    assert sum(err.count("Preparing the backbone") for _, err in outputs) == 1
    assert len([path for path in (private_store / "backbones").iterdir() if path.is_dir()]) == 1


def test_wrong_arguments_are_named_before_anything_runs(private_store: Path) -> None:
    wrong = hs.FeatureExtractor("mobilenet-v2", image_size=8, pooling="mean")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError) as caught:
        wrong.fit()
    text = str(caught.value)
    assert "The `backbone` parameter must be one of" in text
    assert "Did you mean `mobilenet_v2`" in text
    assert "`pooling`" in text
    with pytest.raises(ArgumentError, match="`image_size`"):
        hs.FeatureExtractor("mobilenet_v2", image_size=8).transform([png(9, 9)])
    with pytest.raises(ArgumentError, match="engine"):
        hs.FeatureExtractor(engine="onnx").fit()  # type: ignore[arg-type]
    assert not private_store.exists()


def test_a_failure_of_the_process_is_reported(
    private_store: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "weights.h5"
    weights.write_bytes(b"no weights")
    extractor = hs.FeatureExtractor("mobilenet_v2", image_size=32, weights=str(weights))
    with pytest.raises(Exception, match=r"weights\.h5"):
        extractor.transform([png(9, 9)])
    assert "Traceback" not in capfd.readouterr().err
    assert not [path for path in (private_store / "backbones").iterdir() if path.is_dir()]


def test_the_published_weights_and_size_are_the_defaults() -> None:
    assert backbones.defaults("mobilenet_v2", None, None, None) == {
        "name": "mobilenet_v2", "weights": "imagenet", "weights_sha256": None, "image_size": 224,
    }  # fmt: skip
    assert backbones.defaults(NAME, None, None, 48)["weights"] == "shipped"
    module = backbones.defaults(NAME, "https://tfhub.dev/a/b/1", None, None)
    assert (module["name"], module["weights"], module["image_size"]) == ("hub", "hub", None)


@pytest.mark.usefixtures("cached")
def test_a_map_is_flattened_in_rows_of_its_own() -> None:
    extractor = hs.FeatureExtractor(
        "mobilenet_v2", alpha=0.35, image_size=64, weights="random", pooling="none"
    )
    found = extractor.transform([photo(1)])
    assert found.shape == (1, 2 * 2 * 1280)
    assert len(extractor.get_feature_names_out()) == found.shape[1]


@pytest.mark.shared
def test_twenty_real_images_by_the_lines_of_the_readme(
    shared: Path, imagenet_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import zipfile

    monkeypatch.setenv("KERAS_HOME", str(imagenet_home))
    with zipfile.ZipFile(shared / "datasets" / "cats-dogs.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        chosen = [*names[:10], *names[-10:]]
        archive.extractall(tmp_path, chosen)
    paths = [tmp_path / name for name in chosen]
    y = [path.parent.name for path in paths]
    assert len(set(y)) == 2
    extractor = hs.FeatureExtractor("mobilenet_v2", image_size=224)
    X = extractor.transform(paths)
    assert X.shape == (20, 1280)
    assert X.dtype == np.float32
    assert extractor.passes_.done == 20
    head = hs.HeadClassifier(epochs=20).fit(X, y)
    assert head.score(X, y) == 1.0
    with Image.open(io.BytesIO(Path(os.fspath(paths[0])).read_bytes())) as image:
        assert extractor.transform([np.asarray(image.convert("RGB"))]).shape == (1, 1280)
