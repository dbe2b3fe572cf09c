"""`headstart classify --imagenet`: rows, the image, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import webbrowser
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from headstart.cli.app import app
from headstart.serving import models as loading
from headstart.serving.models import Choice, Classifier
from tests.cli.running import first_guesses
from tests.conftest import ROOT
from tests.downloads.server import Request, serving
from tests.serving import models

NAMES = {"n1": "red_thing", "n2": "green_thing", "n3": "blue_thing"}


def colors(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """A network that names the color."""
    powers = np.exp(pixels.mean(axis=(1, 2)) / 40)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Choice]:
    """What was loaded: always a network of three classes."""
    found: list[Choice] = []

    def load(choice: Choice) -> Classifier:
        found.append(choice)
        return Classifier(
            size=16, gray16_bits=None, shape=(3,), run=colors, batch=1, calls=2, origin="", cure="",
            classes=tuple(NAMES.values()), synsets=tuple(NAMES),
        )  # fmt: skip

    monkeypatch.setattr(loading, "load_imagenet", load)
    return found


@pytest.fixture
def here(asked: list[Choice], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three images, where commands are called."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for name in models.COLORS:
        (tmp_path / "in" / f"{name}.png").write_bytes(models.colored(name))
    return tmp_path


def classify(*words: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["classify", *words], input=stdin)


EXPECTED = {
    "in/blue.png": "blue_thing",
    "in/green.png": "green_thing",
    "in/red.png": "red_thing",
}


def test_a_folder_gives_one_row_per_image_in_order(here: Path, asked: list[Choice]) -> None:
    result = classify("--imagenet", "in")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert list(first_guesses(result).items()) == list(EXPECTED.items())
    assert [(one.backbone.name, one.alpha, one.image_size) for one in asked] == [
        ("mobilenet_v2", 1.0, 224)
    ]


def test_the_imagenet_option_is_required(here: Path, asked: list[Choice]) -> None:
    result = classify("in/red.png")
    assert result.exit_code == 2
    assert "headstart classify --imagenet IMAGE" in result.stderr
    assert "headstart predict IMAGE" in result.stderr
    assert not asked


def test_a_table_is_for_people_and_has_the_likeliest_five(here: Path) -> None:
    lines = classify("--imagenet", "in", "--format", "table").stdout.splitlines()
    assert lines[0].split() == ["file", "class", "probability"]
    assert len(lines) == 1 + 3 * 3  # There are three classes only.
    assert lines[1].split()[:3] == ["in/blue.png", "blue", "thing"]
    assert classify("--imagenet", "in", "--top", "99999", "--format", "table").exit_code == 0


def test_csv_with_the_likeliest_two(here: Path) -> None:
    result = classify("--imagenet", "in", "--format", "csv", "--top", "2")
    table = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [(row["label"], row["synset"]) for row in table] == [
        ("blue_thing", "n3"),
        ("green_thing", "n2"),
        ("red_thing", "n1"),
    ]
    assert all(float(row["probability"]) > float(row["probability_2"]) for row in table)


def test_broken_images_are_named_and_counted(here: Path) -> None:
    (here / "in" / "text.jpg").write_text("no image at all")
    (here / "in" / "cut.png").write_bytes(models.colored("red")[:300])
    (here / "empty").mkdir()
    result = classify("--imagenet", "in", "missing.jpg", "empty")
    assert result.exit_code == 3
    assert first_guesses(result) == EXPECTED
    for part in (
        "Not read: in/text.jpg: not_an_image",
        "Not read: in/cut.png: truncated",
        "Not read: missing.jpg: unreadable",
        "Not read: empty: empty: the folder has no files",
        "Read: 3 of 7 images; not read: 4.",
    ):
        assert part in result.stderr


def test_nothing_is_loaded_for_nothing(here: Path, asked: list[Choice]) -> None:
    (here / "empty").mkdir()
    (here / "out.png").write_bytes(b"")
    long = "x" * 300 + ".jpg"
    for words in (["missing.png"], ["empty", "in/*.tiff"], [long], [long, "-o", "out.png"]):
        result = classify("--imagenet", *words)
        assert result.exit_code == 1
        assert result.stdout == ""
        assert f"Not read: {words[0]}: " in result.stderr
        assert "Read: 0 of " in result.stderr
    assert not asked
    assert classify("--imagenet", "missing.png", "http://127.0.0.1:9/a.png").exit_code == 1
    assert asked


def test_exit_codes(here: Path) -> None:
    assert classify("--imagenet", "-", stdin="").exit_code == 1
    for words in ([], ["--imagenet"], ["--imagenet", "in", "--top", "0"]):
        assert classify(*words).exit_code == 2
    for option, value in (
        ("--backbone", "mobilenet_v3"),
        ("--alpha", "0.3"),
        ("--image-size", "2"),
        ("--image-size", "99999"),
        ("--weights", "absent.h5"),
    ):
        result = classify("--imagenet", "in", option, value)
        assert result.exit_code == 2
        assert option in result.stderr


def test_paths_come_from_standard_input_and_addresses_are_fetched(here: Path) -> None:
    def behave(request: Request) -> None:
        if request.path == "/a.png":
            request.serve(models.colored("green"))
        else:
            request.answer(404)

    with serving(behave) as (url, _):
        result = classify("--imagenet", "-", stdin=f"in/red.png\n{url}/a.png\n{url}/b.png\n")
    assert first_guesses(result) == {"in/red.png": "red_thing", f"{url}/a.png": "green_thing"}
    assert result.exit_code == 3


def test_the_images_are_drawn(here: Path) -> None:
    (here / "in" / "text.jpg").write_text("no image at all")
    result = classify("--imagenet", "in", "-o", "out/classes.png")
    assert result.exit_code == 3
    assert first_guesses(result) == EXPECTED
    assert result.stderr.endswith("not read: 1. Written: out/classes.png.\n")
    with Image.open(here / "out" / "classes.png") as image:
        assert image.format == "PNG"
        found = np.asarray(image.convert("RGB")).reshape(-1, 3).astype(int)
    for color in models.COLORS.values():
        assert (np.abs(found - color).max(axis=1) < 40).any()


def test_of_many_images_the_first_are_drawn(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart.cli.classify._DRAWN", 2)
    result = classify("--imagenet", "in", "-o", "classes.png")
    assert result.stderr.endswith("Written: classes.png (the first 2 of 3).\n")


def test_nothing_is_drawn_of_nothing(here: Path) -> None:
    assert classify("--imagenet", "missing.jpg", "-o", "classes.png").exit_code == 1
    assert not (here / "classes.png").exists()


def test_it_is_opened_where_the_other_images_are(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def browse(url: str) -> bool:
        opened.append(url)
        return True

    monkeypatch.setattr(webbrowser, "open", browse)
    assert classify("--imagenet", "in", "--open").exit_code == 0
    assert opened == [(here / "data" / "show" / "classify.png").as_uri()]
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    result = classify("--imagenet", "in", "missing.jpg", "--open")
    assert result.exit_code == 1
    assert "Read: 3 of 4" in result.stderr
    assert "No browser could be started" in result.stderr


def test_a_classified_image_is_never_overwritten(here: Path, asked: list[Choice]) -> None:
    before = (here / "in" / "red.png").read_bytes()
    (here / "link.png").symlink_to("in/red.png")
    for target, said in (
        ("in/red.png", "would be overwritten"),
        ("link.png", "would be overwritten"),
        ("classes.jpg", "must end in .png"),
        ("in", "must end in .png"),
    ):
        result = classify("--imagenet", "in", "-o", target)
        assert result.exit_code == 2
        assert said in result.stderr
    assert (here / "in" / "red.png").read_bytes() == before
    assert not asked


def test_an_unwritable_grid_is_an_error_after_the_rows(here: Path) -> None:
    (here / "file").write_text("")
    result = classify("--imagenet", "in", "-o", "file/classes.png")
    assert result.exit_code == 1
    assert first_guesses(result) == EXPECTED
    assert "could not be written to file/classes.png" in result.stderr


REFUSED = """
import sys
from headstart.cli.app import app
try:
    app(sys.argv[1:])
finally:
    print(*sys.modules, file=sys.stderr)
"""


def test_a_wrong_option_is_an_error_without_tensorflow(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REFUSED, "classify", "--imagenet", "x.jpg", "--backbone", "vgg"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    *said, loaded = done.stderr.splitlines()
    assert "Did you mean `vgg19` or `vgg16`" in said[0]
    assert not {"tensorflow", "keras", "pandas"} & set(loaded.split())


@pytest.mark.slow
@pytest.mark.shared
def test_real_weights_on_a_real_image(shared: Path, imagenet_home: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(shared / "datasets" / "cats-dogs.zip") as archive:
        (tmp_path / "cat.jpg").write_bytes(archive.read("PetImages/Cat/14.jpg"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_HOME": str(imagenet_home)}
    done = subprocess.run(
        [
            sys.executable, "-m", "headstart", "classify", "--imagenet", "cat.jpg", "absent.jpg",
            "--backbone", "mobilenet", "--alpha", "0.25", "--image-size", "128", "-o", "cat.png",
        ],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    row = json.loads(done.stdout)
    assert (row["label"], row["synset"]) == ("Persian_cat", "n02123394")
    assert len(row["top"]) == 5
    assert done.stderr.splitlines() == [
        "Not read: absent.jpg: unreadable: No such file or directory",
        "Read: 1 of 2 images; not read: 1. Written: cat.png.",
    ]
