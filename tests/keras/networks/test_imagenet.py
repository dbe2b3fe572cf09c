"""Whole networks: the same answers as Keras', from Keras' own files and from others."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from headstart._utils.errors import HeadstartError, ParameterError
from headstart.backbones.registry import BACKBONES
from headstart.keras.networks.backbone import build_backbone
from headstart.keras.networks.conversion import images
from headstart.keras.networks.engine import compiled
from headstart.keras.networks.imagenet import build_classifier
from headstart.keras.networks.pretrained import draw, settle
from headstart.keras.runtime import keras
from tests.downloads.server import serving
from tests.images.made import pixels
from tests.keras.networks.published import go_offline, publish

NARROW = BACKBONES["mobilenet"]
FILE = "mobilenet_2_5_128_tf.h5"


@pytest.fixture(scope="module")
def network() -> Any:
    """MobileNet with its classifier, of random weights that tell images apart."""
    made = keras.applications.MobileNet(
        alpha=0.25, weights=None, input_shape=(128, 128, 3), include_top=True
    )
    draw(made, 3)
    settle(made, "tf")
    return made


def expected_of(network: Any, batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """As people do it with Keras."""
    scaled = keras.applications.mobilenet.preprocess_input(batch.astype(np.float32))
    found: npt.NDArray[np.float32] = network.predict_on_batch(scaled)
    return found


def test_keras_own_file_is_downloaded_once_and_gives_what_keras_gives(
    network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = publish(network, tmp_path / "published.h5")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    batch = images(128)
    with serving(lambda request: request.serve(content)) as (url, seen):
        monkeypatch.setattr("keras.src.applications.mobilenet.BASE_WEIGHT_PATH", f"{url}/")
        for _ in range(2):
            made = build_classifier(NARROW, 0.25, 128, None)
            assert made.origin == f"Keras' ImageNet weights, {url}/{FILE}"
        assert [request.path for request in seen] == [f"/{FILE}"]
    assert (tmp_path / "home" / "models" / FILE).read_bytes() == content
    got = compiled(made.model)(batch)
    assert got.shape == (16, 1000)
    np.testing.assert_allclose(got.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(got, expected_of(network, batch), atol=1e-5)
    assert got.std(axis=0).max() > 1e-3  # It tells the images apart.


def test_an_image_is_classified_the_same_alone_and_among_others(
    network: Any, tmp_path: Path
) -> None:
    publish(network, tmp_path / "own.h5")
    run = compiled(build_classifier(NARROW, 0.25, 128, tmp_path / "own.h5").model)
    batch = images(128)[:5]
    alone = np.concatenate([run(batch[place : place + 1]) for place in range(5)])
    np.testing.assert_allclose(run(batch), alone, atol=1e-6)


@pytest.mark.parametrize("name", ["own.h5", "own.weights.h5"])
def test_a_file_of_ones_own_in_both_formats_and_at_another_size(
    network: Any, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    if name == "own.h5":
        publish(network, path)
    else:
        network.save_weights(path)
    made = build_classifier(NARROW, 0.25, 96, path)
    assert made.origin == f"the file {name}"
    other = keras.applications.MobileNet(alpha=0.25, weights=None, input_shape=(96, 96, 3))
    other.set_weights(network.get_weights())
    batch = images(96)
    np.testing.assert_allclose(compiled(made.model)(batch), expected_of(other, batch), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "alpha", "size", "file"),
    [
        ("mobilenet", 0.25, 128, "mobilenet_2_5_128_tf.h5"),
        ("mobilenet", 1.0, 100, "mobilenet_1_0_224_tf.h5"),
        ("mobilenet_v2", 0.35, 96, "tf_kernels_0.35_96.h5"),
    ],
)
def test_without_a_network_the_file_and_the_remedy_are_named(
    name: str, alpha: float, size: int, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_offline(monkeypatch, tmp_path)
    with pytest.raises(HeadstartError) as told:
        build_classifier(BACKBONES[name], alpha, size, None)
    said = str(told.value)
    assert said.startswith(f"The weights of {name} with its classifier could not be downloaded")
    for part in (f"{file}\n", str(tmp_path / "models"), "`--weights`", "`--backbone`"):
        assert part in said
    assert "backbone.weights" not in said
    assert "shipped" not in said


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name, record in BACKBONES.items() if record.family == "keras.applications"]
)
def test_every_network_is_one_that_keras_has_weights_of_with_its_classifier(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_offline(monkeypatch, tmp_path)
    # Refused by the machine, not by Keras: sizes and options are right.
    with pytest.raises(HeadstartError, match="could not be downloaded"):
        build_classifier(BACKBONES[name], 1.0, BACKBONES[name].default_size, None)


def test_a_damaged_file_in_keras_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / FILE).write_bytes(b"half a file")
    with pytest.raises(HeadstartError, match=rf"{FILE} does not hold the weights.*Delete it"):
        build_classifier(NARROW, 0.25, 128, None)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    headless = build_backbone("mobilenet", 0.25, 128)
    publish(headless, tmp_path / "headless.h5")
    headless.save_weights(tmp_path / "headless.weights.h5")
    (tmp_path / "text.h5").write_bytes(b"no weights")
    for name in ("headless.h5", "headless.weights.h5", "text.h5"):
        with pytest.raises(
            HeadstartError, match=rf"{name} are not those of a mobilenet with its classifier"
        ) as e:
            build_classifier(NARROW, 0.25, 128, tmp_path / name)
        assert "`include_top=True`" in str(e.value)
        assert "include_top=False" not in str(e.value)


def test_a_classifier_of_flat_maps_takes_one_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_offline(monkeypatch, tmp_path)
    with pytest.raises(ParameterError, match=r"must be 224 with `--backbone vgg16`\. Got 64"):
        build_classifier(BACKBONES["vgg16"], 1.0, 64, None)


@pytest.mark.slow
def test_efficientnet_is_the_network_that_keras_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = keras.applications.EfficientNetB0(weights=None)
    draw(source, 5)
    # As in a published file: deviations in place of the input's variances.
    normalization = source.get_layer("normalization")
    normalization.adapt_mean.assign([0.485, 0.456, 0.406])
    normalization.adapt_variance.assign([0.229, 0.224, 0.225])
    publish(source, tmp_path / "published.h5")
    monkeypatch.setattr(
        "keras.src.utils.file_utils.get_file", lambda *_, **__: str(tmp_path / "published.h5")
    )
    theirs = keras.applications.EfficientNetB0()
    batch = images(224)[:4]
    expected = theirs.predict_on_batch(batch.astype(np.float32))
    ours = compiled(
        build_classifier(BACKBONES["efficientnet_b0"], 1.0, 224, tmp_path / "published.h5").model
    )
    np.testing.assert_allclose(ours(batch), expected, rtol=1e-3, atol=1e-7)


@pytest.mark.shared
def test_real_weights_on_real_images_say_what_keras_says(
    shared: Path, imagenet_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(imagenet_home))
    with zipfile.ZipFile(shared / "datasets" / "cats-dogs.zip") as archive:
        contents = [
            archive.read(f"PetImages/{kind}/{number}.jpg")
            for kind in ("Cat", "Dog")
            for number in range(8)
        ]
    batch = np.stack([pixels(content, 128) for content in contents])
    got = compiled(build_classifier(NARROW, 0.25, 128, None).model)(batch)
    file = str(imagenet_home / "models" / FILE)
    theirs = keras.applications.MobileNet(alpha=0.25, input_shape=(128, 128, 3), weights=file)
    expected = expected_of(theirs, batch)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    np.testing.assert_array_equal(got.argmax(axis=1), expected.argmax(axis=1))
