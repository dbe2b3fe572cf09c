"""Networks of ImageNet: the choice of one, and its answers."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from headstart._utils.errors import CorruptFileError, HeadstartError, ParameterError
from headstart.backbones.registry import BACKBONES
from headstart.serving.models import Choice, Classifier, choose
from headstart.serving.models import load_imagenet as load
from headstart.serving.results import answer
from tests.images.made import pixels
from tests.keras.networks.published import go_offline


def test_a_network_comes_at_the_size_that_it_was_trained_on() -> None:
    for name, size in (("mobilenet_v2", 224), ("xception", 299), ("efficientnet_b3", 300)):
        assert choose(name, 1.0, None, "imagenet") == Choice(BACKBONES[name], 1.0, size, None)
    assert choose("mobilenet", 0.25, 128, "imagenet").image_size == 128


def test_a_file_of_weights_is_one_that_exists(tmp_path: Path) -> None:
    path = tmp_path / "mine.weights.h5"
    path.write_bytes(b"looked at later")
    assert choose("resnet50", 1.0, None, str(path)).weights == path


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("mobilenet-v2", 1.0, None, "imagenet"), "Did you mean `mobilenet_v2`"),
        (("nothing like it", 1.0, None, "imagenet"), "`headstart backbones` lists them all"),
        (("headstart-small", 1.0, None, "imagenet"), "no classifier of ImageNet's classes"),
        (("hub", 1.0, None, "imagenet"), "no classifier of ImageNet's classes"),
        (("vgg16", 0.5, None, "imagenet"), "`--alpha` parameter must be 1 with"),
        (("mobilenet", 0.3, None, "imagenet"), "must be one of 0.25, 0.5, 0.75, 1 with"),
        (("xception", 1.0, 70, "imagenet"), "an integer ≥ 71 with `--backbone xception`. Got 70"),
        (("vgg16", 1.0, None, "random"), "must be imagenet or the path of a .weights.h5"),
        (("vgg16", 1.0, None, "model.keras"), "must be imagenet or the path of a .weights.h5"),
        (("vgg16", 1.0, None, "absent.h5"), "a file that exists. Got 'absent.h5'"),
    ],
)
def test_impossible_options_are_errors_before_loading(
    asked: tuple[str, float, int | None, str], said: str
) -> None:
    with pytest.raises(ParameterError) as told:
        choose(*asked)
    assert said in str(told.value)


def test_names_are_read_before_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_offline(monkeypatch, tmp_path)
    with pytest.raises(HeadstartError, match="names of ImageNet's classes"):
        load(choose("mobilenet_v2", 1.0, None, "imagenet"))


def test_outputs_that_are_not_finite_are_errors() -> None:
    broken = Classifier(
        size=8, gray16_bits=None, shape=(1,), run=lambda _: np.full((1, 1), np.nan, "f4"),
        batch=1, calls=1,
        origin="The network with the file x.h5", cure="Use another one.",
        classes=("one",), synsets=("n1",),
    )  # fmt: skip
    with pytest.raises(CorruptFileError, match=r"with the file x\.h5 did not give finite numbers"):
        broken(np.zeros((1, 8, 8, 3), np.uint8))


@pytest.mark.shared
def test_the_first_five_are_those_that_keras_decodes(
    shared: Path, imagenet_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keras.applications.imagenet_utils import decode_predictions

    monkeypatch.setenv("KERAS_HOME", str(imagenet_home))
    monkeypatch.setattr(
        "keras.src.utils.file_utils.get_file",
        lambda name, *_, **__: str(imagenet_home / "models" / name),
    )
    classifier = load(choose("mobilenet", 0.25, 128, "imagenet"))
    with zipfile.ZipFile(shared / "datasets" / "cats-dogs.zip") as archive:
        batch = np.stack(
            [pixels(archive.read(f"PetImages/Dog/{number}.jpg"), 128) for number in range(6)]
        )
    probabilities = classifier(batch)
    for row, expected in zip(probabilities, decode_predictions(probabilities, top=5), strict=True):
        said = answer(row, classifier.classes, 5, synsets=classifier.synsets).guesses
        assert [
            (guess.synset, guess.label, np.float32(guess.probability)) for guess in said
        ] == expected
