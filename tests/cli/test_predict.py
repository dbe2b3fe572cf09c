from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from headstart.cli.app import app
from headstart.serving import models as loading
from tests.cli.running import first_guesses
from tests.conftest import ROOT
from tests.downloads.server import Request, serving
from tests.images.made import encoded, png_header
from tests.serving import models


@pytest.fixture(scope="module")
def colors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.shared(tmp_path_factory)


@pytest.fixture
def here(colors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an export and three images, where commands are called."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(colors, tmp_path / "data" / "export")
    (tmp_path / "in").mkdir()
    for name in models.COLORS:
        (tmp_path / "in" / f"{name}.png").write_bytes(models.colored(name))
    return tmp_path


def predict(*words: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["predict", *words], input=stdin)


def test_a_folder_gives_one_row_per_image_in_order(here: Path) -> None:
    result = predict("in")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert list(first_guesses(result).items()) == [
        ("in/blue.png", "blue"),
        ("in/green.png", "green"),
        ("in/red.png", "red"),
    ]


BROKEN = {
    "empty.jpg": b"",
    "text.png": b"no image at all",
    "cut.png": models.colored("red")[:300],
    "bomb.png": png_header(20_000, 20_000),
    "page.html": b"<html></html>",
}


def test_a_thousand_images_and_five_broken_ones(here: Path) -> None:
    folder = here / "many"
    folder.mkdir()
    for number in range(1000):
        name = list(models.COLORS)[number % 3]
        image = folder / f"{number:04}-{name}.png"
        image.write_bytes(models.colored(name, side=20, seed=number))
    for name, content in BROKEN.items():
        (folder / name).write_bytes(content)
    result = predict("many")
    assert result.exit_code == 3
    found = first_guesses(result)
    assert len(found) == 1000
    assert all(Path(file).stem.endswith(label) for file, label in found.items())
    *named, summary = result.stderr.splitlines()
    assert sorted(line.split(": ")[1] for line in named) == sorted(f"many/{x}" for x in BROKEN)
    assert summary == "Read: 1,000 of 1,005 images; not read: 5."
    reasons = {line.split(": ")[1]: line.split(": ")[2] for line in named}
    assert reasons == {
        "many/empty.jpg": "empty",
        "many/text.png": "not_an_image",
        "many/cut.png": "truncated",
        "many/bomb.png": "too_large",
        "many/page.html": "not_an_image",
    }


def test_exit_codes(here: Path) -> None:
    assert predict("in/red.png").exit_code == 0
    assert predict("in/red.png", "missing.png").exit_code == 3
    assert predict("missing.png").exit_code == 1
    assert predict("in", "--model", "nowhere").exit_code == 1
    assert predict("in", "--top", "0").exit_code == 2
    assert predict().exit_code == 2
    assert predict("-", stdin="").exit_code == 1


def test_an_error_has_no_traceback(here: Path) -> None:
    result = predict("in", "--model", "nowhere")
    assert result.stderr.startswith("Error: nowhere is not an exported model")
    assert "Traceback" not in result.output


def test_csv_with_the_likeliest_two(here: Path) -> None:
    result = predict("in", "--format", "csv", "--top", "2")
    table = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["label"] for row in table] == ["blue", "green", "red"]
    assert all(float(row["probability"]) > float(row["probability_2"]) for row in table)


def test_a_table_is_for_people(here: Path) -> None:
    lines = predict("in", "--format", "table").stdout.splitlines()
    assert lines[0].split() == ["file", "class", "probability"]
    assert lines[1].split()[:2] == ["in/blue.png", "blue"]


def test_paths_come_from_standard_input(here: Path) -> None:
    result = predict("-", "in/blue.png", stdin="in/red.png\nin/green.png\n")
    assert list(first_guesses(result).values()) == ["red", "green", "blue"]


def test_addresses_are_fetched_and_failures_are_reported(here: Path) -> None:
    def behave(request: Request) -> None:
        if request.path == "/a.png":
            request.serve(models.colored("green"))
        else:
            request.answer(404)

    with serving(behave) as (url, _):
        result = predict(f"{url}/a.png", f"{url}/b.png")
        assert result.exit_code == 3
        assert first_guesses(result) == {f"{url}/a.png": "green"}
        assert f"Not read: {url}/b.png: unreachable: the server answered 404" in result.stderr


def test_limits_are_those_of_download_and_can_be_set(here: Path) -> None:
    assert "too_small" in predict("in/red.png", "--min-side", "41").stderr
    assert "too_large" in predict("in/red.png", "--max-pixels", "1599").stderr
    assert "too_large" in predict("in/red.png", "--max-image-bytes", "100").stderr
    assert "refused_format" in predict("in/red.png", "--accept", "jpeg", "--accept", "webp").stderr


def test_images_are_sorted_by_copy(here: Path) -> None:
    (here / "odd.png").write_bytes(b"no image")
    (here / "again").mkdir()
    (here / "again" / "red.png").write_bytes(models.colored("red", seed=9))
    before = {path: path.read_bytes() for path in (here / "in").iterdir()}
    for said in ("Copied to out: 4.", "Copied to out: 0; there already: 4."):
        result = predict("in", "odd.png", "again", "--out-folder", "out")
        assert result.exit_code == 3
        assert said in result.stderr
        found = sorted(path.relative_to(here).as_posix() for path in (here / "out").rglob("*.png"))
        assert found == [
            "out/blue/blue.png",
            "out/green/green.png",
            "out/red/red-2.png",
            "out/red/red.png",
        ]
    assert {path: path.read_bytes() for path in (here / "in").iterdir()} == before


def test_names_are_shown_with_capitals_and_folders_keep_them(here: Path) -> None:
    plain = predict("in", "--top", "3")
    shown = predict("in", "--top", "3", "--capitals", "--out-folder", "out")
    assert list(first_guesses(shown).values()) == ["Blue", "Green", "Red"]
    assert shown.stdout == re.sub('"(blue|green|red)"', lambda x: x.group().title(), plain.stdout)
    assert sorted(path.name for path in (here / "out").iterdir()) == ["blue", "green", "red"]
    table = predict("in", "--format", "table", "--capitals").stdout.splitlines()
    assert [line.split()[1] for line in table] == ["class", "Blue", "Green", "Red"]


def test_an_unsure_image_has_no_class(here: Path) -> None:
    result = predict("in/red.png", "--threshold", "0.9999", "--out-folder", "out")
    assert first_guesses(result) == {"in/red.png": None}
    assert (here / "out" / "unsure" / "red.png").exists()


def test_only_the_export_and_the_package_are_needed(here: Path) -> None:
    """A process in a folder that holds nothing else, without TensorFlow, Keras or DVC."""
    code = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"tensorflow", "keras", "dvc", "prefect", "sklearn", "fastapi"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from headstart.cli.app import app
from headstart.serving import models as loading
app(["predict", "in/red.png", "--format", "jsonl"])
"""
    environment = {**os.environ, "HOME": str(here), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=here, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["label"] == "red"
    assert done.stderr == ""
    assert sorted(path.name for path in here.iterdir() if path.name != "store") == ["data", "in"]


def test_images_that_are_nearly_black_are_named(here: Path) -> None:
    values = np.linspace(0, 4095, 400).reshape(20, 20).astype(np.uint16)
    (here / "in" / "xray.png").write_bytes(encoded(Image.fromarray(values), "PNG"))
    result = predict("in")
    assert result.exit_code == 0
    assert "Warning: 1 image uses 12 of 16 bits at most" in result.stderr
    assert "train it with `backbone.gray16_bits` (docs/your-images.md," in result.stderr
    assert result.stderr.rstrip().endswith(": in/xray.png.")
    assert len(first_guesses(result)) == 4


def test_images_of_more_bits_than_the_model_was_trained_on_are_named(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = loading.load_classifier
    monkeypatch.setattr(
        loading, "load_classifier", lambda *asked: replace(load(*asked), gray16_bits=12)
    )
    for largest, name in ((4095, "fits"), (4096, "cut")):
        values = np.linspace(0, largest, 400).reshape(20, 20).astype(np.uint16)
        (here / "in" / f"{name}.png").write_bytes(encoded(Image.fromarray(values), "PNG"))
    result = predict("in")
    assert result.exit_code == 0
    assert "1 image uses 13 bits, and the model was trained with `backbone.gray16_bits: 12`" in (
        result.stderr
    )
    assert "values above 4,095 are white" in result.stderr
    assert result.stderr.rstrip().endswith(": in/cut.png.")
