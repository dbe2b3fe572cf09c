"""Images of one clip or patient share a split, and a note names the parameter where they do not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from headstart._utils.errors import SourceError
from headstart.datasets.manifests import read_images
from headstart.datasets.parameters import SplitParams
from headstart.datasets.splits import split
from headstart.sources.groups import SERIES, group_of, note
from headstart.sources.layout import recognize
from tests.archives.made import make_zip
from tests.images import made as make
from tests.stages.test_download import folder_of, run

PARAMS = SplitParams(validation=0.2, test=0.2, predefined="keep", duplicates="together")


def clips(form: str, start: int = 0) -> dict[str, bytes]:
    """Ten clips of six frames in each of two classes."""
    return {
        form.format(label=label, clip=f"{label[0]}{clip}", frame=frame): make.jpeg(
            seed=start + 100 * clip + 10 * frame + (label == "dog")
        )
        for label in ("cat", "dog")
        for clip in range(10)
        for frame in range(6)
    }


FORMS = {
    "folder": "{label}/{clip}/{frame}.jpg",
    "series": "{label}/{clip}_x{frame:03}.jpg",
    "deep": "Pets/{label}/{clip}/left/{frame}.jpg",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("source", ["folder", "archive"])
def test_the_note_names_what_groups_the_clips(
    tmp_path: Path, form: str, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files = clips(FORMS[form])
    location = (folder_of(files, tmp_path / "in") if source == "folder"
                else make_zip(tmp_path / "in.zip", files))  # fmt: skip
    run(location, tmp_path / "1", source=source)
    said = capsys.readouterr().out
    assert "Note: 120 of 120 images" in said
    images = read_images(tmp_path / "1/images.csv")
    clip = images["path"].str.extract(r"([cd][0-9])[/_]")[0]
    alone = split(images, PARAMS, 42).manifest
    assert (alone.groupby(clip)["split"].nunique() > 1).any(), "clips are on both sides"
    # The cure that it names.
    (rule,) = re.findall(r"`download\.group: '?(.*?)'?`", said)
    run(location, tmp_path / "2", source=source, group=rule)
    said = capsys.readouterr().out
    assert "20 groups by `download.group`" in said
    assert "Note" not in said
    images = read_images(tmp_path / "2/images.csv")
    assert images.groupby("group")["label"].nunique().tolist() == [1] * 20
    grouped = split(images, PARAMS, 42).manifest
    assert set(grouped["split"]) == {"train", "validation", "test"}
    assert (grouped.groupby(clip)["split"].nunique() == 1).all()


def test_a_pattern_and_images_without_a_group(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {**clips("{label}/patient{clip}-{frame}.jpg"), "cat/other.jpg": make.jpeg(seed=9000)}
    folder = folder_of(files, tmp_path / "in")
    run(folder, tmp_path / "out", source="folder", group="patient([a-z0-9]+)")
    assert "20 groups by `download.group` (c0, c1" in (said := capsys.readouterr().out)
    assert "; 1 image in none, as cat/other.jpg." in said
    images = read_images(tmp_path / "out/images.csv").set_index("path")
    assert images.loc["dog/patientd3-1.jpg", "group"] == "d3"
    assert images.loc["cat/other.jpg", "group"] == ""
    for rule in ("folder", "person([0-9]+)"):
        with pytest.raises(SourceError, match=r"`download\.group` is (.|\n)*cat/other\.jpg"):
            run(folder, tmp_path / "out", source="folder", group=rule)


def test_a_group_in_two_predefined_splits_is_named(tmp_path: Path) -> None:
    files = {f"train/{name}": content for name, content in clips(FORMS["folder"]).items()}
    others = clips("{label}/{clip}/{frame}.jpg", 5000)
    files |= {f"test/{name}": content for name, content in others.items() if "/c1/" in name}
    files |= {f"test/{label}/new/{n}.jpg": make.jpeg(seed=7000 + n + 10 * (label == "dog"))
              for label in ("cat", "dog") for n in range(5)}  # fmt: skip
    folder = folder_of(files, tmp_path / "in")
    run(
        folder,
        tmp_path / "out",
        source="folder",
        group="folder",
        splits={"train": "train", "test": "test"},
    )
    division = split(read_images(tmp_path / "out/images.csv"), PARAMS, 42)
    assert division.leaked_groups == ["c1"]
    said = division.describe()
    assert "Groups in more than one predefined split: c1." in said
    assert "by their bytes or their group: 12;" in said
    of_group = division.manifest.loc[division.manifest["group"] == "c1", "split"]
    assert set(of_group) == {"train"}


@pytest.mark.parametrize(
    ("path", "group"),
    [("cat/clip1_001.jpg", "clip1_"), ("cat/IMG_20240101_123456.jpeg", "IMG_20240101_"),
     ("cat/0.jpg", ""), ("cat/cat.17.jpg", "cat."), ("clip1/a.jpg", "")],
)  # fmt: skip
def test_series(path: str, group: str) -> None:
    assert group_of(SERIES, path, "") == group


def test_names_that_are_no_series_get_no_note() -> None:
    def noted(paths: list[str]) -> str:
        layout = recognize(paths, None, "x", {})
        return note((path.split("/")[0], path, layout.inside(path)) for path in paths)

    assert not noted([f"{label}/{n}.jpg" for label in ("cat", "dog") for n in range(9)])
    assert not noted([f"{label}/{label}.{n}.jpg" for label in ("cat", "dog") for n in range(9)])
    assert not noted([f"{label}/{n}_100.jpg" for label in ("cat", "dog") for n in range(9)])
    assert not noted([f"{label}/images/{n}.jpg" for label in ("cat", "dog") for n in range(9)])
    assert noted([f"{label}/{c}/{n}.jpg" for label in ("a", "b") for c in "xy" for n in range(3)])


def test_the_part_below_the_class() -> None:
    paths = [f"d/{part}/{label}/c{n}/1.jpg" for part in ("train", "train_more", "test")
             for label in ("a", "b") for n in range(part == "test", 3)]  # fmt: skip
    splits = {"train": "train", "train_more": "train", "test": "test"}
    layout = recognize(paths, None, "x", splits)
    assert {layout.inside(path) for path in paths} == {"c0/1.jpg", "c1/1.jpg", "c2/1.jpg"}
